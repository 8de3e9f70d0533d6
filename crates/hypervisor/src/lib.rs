//! What Farshore needs of a hypervisor; libvirt; a simulated one
