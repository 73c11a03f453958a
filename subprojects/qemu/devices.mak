# The devices that our QEMU is built with: what it takes to boot Linux on any of
# the x86 machines and to network it.  Everything else only takes time to build.

CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_MICROVM=y
CONFIG_PCIE_PORT=y

CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_MMIO=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_RNG=y
CONFIG_E1000_PCI=y
CONFIG_E1000E_PCI_EXPRESS=y
CONFIG_RTL8139_PCI=y

CONFIG_SERIAL_ISA=y
CONFIG_SERIAL_PCI=y
CONFIG_VGA_PCI=y

# What libvirt gives a domain, asked or not.
CONFIG_USB_XHCI_PCI=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_SERIAL=y
