
    {
        .name       = "ipvlan",
        .args_type  = "",
        .params     = "",
        .help       = "show the masters and slaves of -netdev ipvlan",
        .cmd        = hmp_info_ipvlan,
    },

SRST
  ``info ipvlan``
    Show the masters and slaves of ``-netdev ipvlan``.
ERST
