"""Driver of a Systolith accelerator for Python hosts: PYNQ, any memory-mapped bus, a UART.

This folder needs nothing but numpy and Python 3.8, so that it can be copied to a board. It reads
the container that `systolith generate --model` writes, which holds the register map, too::

    from pynq import Overlay, allocate
    from systolith_host import Device, Network

    overlay = Overlay("systolith.bit")
    device = Device(overlay.systolith_0.mmio, Network.load("network"), allocate=allocate)
    outputs = device.run(image)  # floats or codes, height x width x channels
"""

from .container import DeviceError, Mmio, Network
from .device import Device
from .uart import UartMmio, open_port

__all__ = ["Device", "DeviceError", "Mmio", "Network", "UartMmio", "open_port"]
