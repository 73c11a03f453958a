/*
 * What the kernel knows of a master that is a tap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include "hw/net/vlink/endpoint.h"
#include "net/tap.h"
#include "qemu/cutils.h"
#include "qemu/sockets.h"

/*
 * The tap tells its name and its MAC address, but not its MTU, and may be in
 * another network namespace than we are.  An interface here that has both the
 * same name and the same MAC address is it: the kernel gives taps random ones.
 */
static int ask_mtu(int tap, int sock)
{
    struct ifreq is = { 0 }, here = { 0 };

    if (ioctl(tap, TUNGETIFF, &is) < 0) {
        return 0;
    }
    pstrcpy(here.ifr_name, sizeof(here.ifr_name), is.ifr_name);
    if (ioctl(tap, SIOCGIFHWADDR, &is) < 0 ||
        ioctl(sock, SIOCGIFHWADDR, &here) < 0 ||
        memcmp(is.ifr_hwaddr.sa_data, here.ifr_hwaddr.sa_data,
               ETHER_ADDR_LEN) ||
        ioctl(sock, SIOCGIFMTU, &here) < 0) {
        return 0;
    }
    return here.ifr_mtu;
}

uint32_t vlink_tap_mtu(const char *master, uint32_t min, uint32_t max)
{
    NetClientState *nc = qemu_find_netdev(master);
    int sock, mtu;

    if (!nc || nc->info->type != NET_CLIENT_DRIVER_TAP) {
        return 0;
    }
    sock = qemu_socket(AF_INET, SOCK_DGRAM, 0);
    if (sock < 0) {
        return 0;
    }
    mtu = ask_mtu(tap_get_fd(nc), sock);
    close(sock);
    return mtu >= min && mtu <= max ? mtu : 0;
}
