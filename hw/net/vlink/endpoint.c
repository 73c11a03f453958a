/*
 * Virtual links as netdevs: made from a netdev's options
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "endpoint-int.h"
#include "qapi/error.h"

/* A netdev that an option names: the clients that are its queues. */
typedef struct Clients {
    NetClientState *nc[MAX_QUEUE_NUM];
    unsigned n;
} Clients;

/* --- whom the options name ----------------------------------------------- */

static bool no_netdev(const char *option, const char *id, Error **errp)
{
    error_setg(errp, "%s=%s: there is no such netdev", option, id);
    return false;
}

/* It may be in use by somebody else. */
static bool find_netdev(const VlinkOptions *opts, const char *option,
                        const char *id, Clients *found, Error **errp)
{
    if (g_str_equal(id, opts->id)) {
        error_setg(errp, "%s=%s: a netdev cannot be its own %s",
                   option, id, option);
        return false;
    }
    found->n = qemu_find_net_clients_except(id, found->nc,
                                            NET_CLIENT_DRIVER_NIC,
                                            MAX_QUEUE_NUM);
    if (!found->n || vlink_is_lower(found->nc[0])) {
        return no_netdev(option, id, errp);
    }
    return true;
}

static bool in_use(const char *option, NetClientState *nc, Error **errp)
{
    if (vlink_is_lower(nc->peer)) {
        error_setg(errp, "%s=%s: it is the master of %s netdevs", option,
                   nc->name, nc->peer->model);
    } else {
        error_setg(errp, "%s=%s: it is in use by %s '%s'", option, nc->name,
                   nc->peer->model, nc->peer->name);
    }
    return false;
}

static bool find_master(VlinkDriver *driver, const VlinkOptions *opts,
                        Clients *master, Error **errp)
{
    NetClientState *peer;
    const Link *left;

    if (!find_netdev(opts, "master", opts->master, master, errp)) {
        return false;
    }
    peer = master->nc[0]->peer;
    if (peer) {
        return peer->info == &driver->lower ||
               in_use("master", master->nc[0], errp);
    }
    left = vlink_find_lower(opts->master);
    if (left) {
        error_setg(errp, "master=%s: it cannot be that of '%s', which waits "
                   "for one of this name", opts->master,
                   ((Link *)left->uppers.head->data)->name);
    }
    return !left;
}

bool vlink_check_master(const char *master, Error **errp)
{
    NetClientState *nc = qemu_find_netdev(master);

    if (!nc || vlink_is_lower(nc)) {
        return no_netdev("master", master, errp);
    }
    return !nc->peer || vlink_is_lower(nc->peer) ||
           in_use("master", nc, errp);
}

Link *vlink_find_upper(const char *kind, const char *option, const char *id,
                       Error **errp)
{
    NetClientState *nc = qemu_find_netdev(id);
    Link *link;

    if (!nc || vlink_is_lower(nc)) {
        no_netdev(option, id, errp);
        return NULL;
    }
    link = vlink_link_of(nc);
    if (!link || !g_str_equal(link->ops->kind, kind)) {
        error_setg(errp, "%s=%s: it is no slave of %s", option, id, kind);
        return NULL;
    }
    return link;
}

static bool find_user_netdev(const VlinkOptions *opts, Clients *user,
                             Error **errp)
{
    if (opts->peer) {
        error_setg(errp, "netdev=%s: -net attaches '%s' to a hub already",
                   opts->netdev, opts->id);
        return false;
    }
    if (!find_netdev(opts, "netdev", opts->netdev, user, errp)) {
        return false;
    }
    if (g_str_equal(opts->netdev, opts->master)) {
        error_setg(errp, "netdev=%s: it is the master", opts->netdev);
        return false;
    }
    if (opts->queues && opts->queues != user->n) {
        error_setg(errp, "queues=%u: netdev '%s' has %u", opts->queues,
                   opts->netdev, user->n);
        return false;
    }
    return !user->nc[0]->peer || in_use("netdev", user->nc[0], errp);
}

/* Whose netdev it is to be; nobody's, where there is to be no peer yet. */
static bool find_user(const VlinkOptions *opts, Clients *user, Error **errp)
{
    user->n = 0;
    if (opts->netdev) {
        return find_user_netdev(opts, user, errp);
    }
    if (!opts->peer) {
        return true;
    }
    if (opts->queues > 1) {
        error_setg(errp, "queues=%u: -net attaches '%s' to a hub, which takes "
                   "only one", opts->queues, opts->id);
        return false;
    }
    user->nc[user->n++] = opts->peer;
    return true;
}

/* --- making them --------------------------------------------------------- */

const char *vlink_join_problem(int ret)
{
    switch (ret) {
    case -ELOOP:
        return "are connected already, and frames would go in circles";
    case -EMLINK:
        return "would be nested deeper than 8 links";
    default:
        return "cannot be joined";
    }
}

/*
 * Where @nc is a slave, too, frames between the two links take a way that
 * neither of them sees: let the library know of it.
 */
static bool join(Link *link, const char *option, NetClientState *nc,
                 Error **errp)
{
    Link *other = vlink_link_of(nc);
    int ret = other ? link_join(link, other) : 0;

    if (ret < 0) {
        error_setg(errp, "%s=%s: '%s' and '%s' %s", option, nc->name,
                   nc->name, link->name, vlink_join_problem(ret));
    }
    return ret == 0;
}

QEMU_BUILD_BUG_ON(LINK_MAX_NEST != 8);  /* as vlink_join_problem() says */

static Link *lower_get(VlinkDriver *driver, Clients *master, Error **errp)
{
    NetClientState *peer = master->nc[0]->peer;
    Link *lower;

    if (peer) {
        return to_queue(peer)->ep->link;
    }
    lower = vlink_lower_new(driver, master->nc, master->n);
    if (!join(lower, "master", master->nc[0], errp)) {
        vlink_lower_release(lower);
        return NULL;
    }
    return lower;
}

static void set_properties(Link *link, const VlinkOptions *opts)
{
    link_set_rx_queue(link, opts->rx_queue ?: LINK_RX_QUEUE);
    link_set_weight(link, opts->weight ?: 1);
    link_set_rates(link, &(LinkRates) {
        .tx_bps = opts->tx_bps, .rx_bps = opts->rx_bps, .burst = opts->burst,
    });
}

static Link *link_create(VlinkDriver *driver, const VlinkOptions *opts,
                         Link *lower, Clients *user, Error **errp)
{
    g_autoptr(GError) err = NULL;
    Link *link = link_new(&vlink_platform, driver->kind, opts->id, lower,
                          opts->config, &err);

    if (!link) {
        error_setg(errp, "%s", err->message);
        return NULL;
    }
    if (user->n && !join(link, "netdev", user->nc[0], errp)) {
        link_del(link);
        return NULL;
    }
    set_properties(link, opts);
    return link;
}

static void driver_init(VlinkDriver *driver)
{
    driver->upper = vlink_upper_info;
    driver->upper.type = driver->type;
    driver->lower = vlink_lower_info;
    driver->lower.type = driver->type;
}

Link *vlink_new(VlinkDriver *driver, const VlinkOptions *opts, Error **errp)
{
    Clients master, user;
    Link *lower, *link;

    driver_init(driver);
    if (!find_master(driver, opts, &master, errp) ||
        !find_user(opts, &user, errp)) {
        return NULL;
    }
    lower = lower_get(driver, &master, errp);
    if (!lower) {
        return NULL;
    }
    link = link_create(driver, opts, lower, &user, errp);
    if (!link) {
        vlink_lower_release(lower);
        return NULL;
    }
    vlink_upper_new(driver, opts, user.n ? user.nc : NULL,
                    user.n ?: opts->queues ?: 1, link);
    return link;
}
