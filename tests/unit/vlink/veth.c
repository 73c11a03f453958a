/*
 * A pair of virtual Ethernet links: a kind of link is one file
 *
 * What is sent on one end is received on the other.  The maximum transmission
 * unit of an end can be changed, and longer frames are not sent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "veth.h"

#define VETH_MIN_MTU 68         /* RFC 791 */

typedef struct Veth {
    unsigned mtu;
} Veth;

static int veth_changelink(Link *link, const void *opaque, GError **err)
{
    const VethConfig *config = opaque;
    Veth *veth = link_priv(link);

    if (config->mtu < VETH_MIN_MTU) {
        g_set_error(err, LINK_ERROR, EINVAL, "mtu=%u is less than %d",
                    config->mtu, VETH_MIN_MTU);
        return -EINVAL;
    }
    veth->mtu = config->mtu;
    return 0;
}

static int veth_newlink(Link *link, const void *opaque, GError **err)
{
    const VethConfig *config = opaque;
    int ret = veth_changelink(link, config, err);

    if (!ret && config->peer) {
        ret = link_join(link, config->peer);
        if (ret < 0) {
            g_set_error(err, LINK_ERROR, -ret, "peer=%s has a wire already",
                        config->peer->name);
        }
    }
    return ret;
}

static LinkTx veth_xmit(Link *link, Packet *p)
{
    const Veth *veth = link_priv(link);

    if (!link->pair) {
        return link_drop(link, p, DROP_NO_RECEIVER);
    }
    if (p->len > PACKET_HEAD_LEN + veth->mtu) {
        return link_drop(link, p, DROP_OVERSIZED);
    }
    link_receive(link->pair, p);
    return LINK_TX_OK;
}

static void veth_fill_info(const Link *link, GString *out)
{
    const Veth *veth = link_priv(link);

    g_string_append_printf(out, "mtu=%u", veth->mtu);
}

static const LinkOps veth_ops = {
    .kind = "veth",
    .priv_size = sizeof(Veth),
    .newlink = veth_newlink,
    .changelink = veth_changelink,
    .xmit = veth_xmit,
    .fill_info = veth_fill_info,
};

void veth_register(void)
{
    link_kind_register(&veth_ops);
}
