"""Noticing a lost reference picture that the decoder passes over in silence (H.264).

When a reference picture is missing, FFmpeg predicts later pictures from the wrong one and says
nothing: they decode, and show what never was. But H.264 numbers its reference pictures:
``frame_num`` goes up by one after each (ITU-T H.264 7.4.3), so a jump means that one is gone, and
nothing up to the next IDR picture can be trusted. (H.265 names its references, and its decoder
complains by itself.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.footage import nal

if TYPE_CHECKING:
    import av

_SLICES = (1, 5)
_IDR, _SPS = 5, 7
_MORE_FIELDS = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_SPS_BYTES = 64
_SLICE_BYTES = 24


class FrameNumbers:
    """Follows ``frame_num`` from packet to packet, in decoding order."""

    def __init__(self, extradata: bytes) -> None:
        """Start with the parameter set in the header of the container, where there is one."""
        self._length_bytes = nal.h264_length_bytes(extradata)
        self._bits = 0  # of frame_num; 0: unknown, nothing can be told
        self._separate_planes = False
        self._last: int | None = None
        for unit in _parameter_sets(extradata, self._length_bytes):
            self._learn(unit)

    def lost(self, packet: av.Packet) -> bool:
        """Take the next packet; tell whether a reference picture is missing before it."""
        for unit in nal.units(memoryview(packet), self._length_bytes):
            kind = unit[0] & 31
            if kind == _SPS:
                self._learn(bytes(unit[:_SPS_BYTES]))
            elif kind in _SLICES and self._bits:
                return self._jumped(bytes(unit[:_SLICE_BYTES]))
        return False

    def _jumped(self, unit: bytes) -> bool:
        fields = _Bits(unit[1:])
        for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
            fields.exp_golomb()
        if self._separate_planes:
            fields.take(2)
        number, last = fields.take(self._bits), self._last
        if unit[0] >> 5 & 3:
            self._last = number
        if unit[0] & 31 == _IDR or last is None:
            return False
        return number not in (last, (last + 1) % (1 << self._bits))

    def _learn(self, unit: bytes) -> None:
        """Read ``log2_max_frame_num`` from a sequence parameter set (H.264 7.3.2.1.1)."""
        self._bits, fields = 0, _Bits(unit[1:])
        profile = fields.take(8)
        fields.take(16)
        fields.exp_golomb()
        self._separate_planes = False
        if profile in _MORE_FIELDS:
            if fields.exp_golomb() == 3:
                self._separate_planes = bool(fields.take(1))
            fields.exp_golomb()
            fields.exp_golomb()
            fields.take(1)
            if fields.take(1):
                return  # scaling lists, which lie before the field: rare, so not followed
        bits = fields.exp_golomb() + 4
        if not fields.spent and bits <= 16 and not _gaps_allowed(fields):
            self._bits = bits


def _gaps_allowed(fields: _Bits) -> bool:
    """Read on to ``gaps_in_frame_num_value_allowed_flag``: then jumps are no loss."""
    order = fields.exp_golomb()
    if order == 0:
        fields.exp_golomb()
    elif order == 1:
        fields.take(1)
        fields.exp_golomb()
        fields.exp_golomb()
        for _ in range(min(fields.exp_golomb(), 255)):
            fields.exp_golomb()
    fields.exp_golomb()
    return bool(fields.take(1)) or fields.spent


def _parameter_sets(extradata: bytes, length_bytes: int) -> list[bytes]:
    """Return the sequence parameter sets of an avcC box or of start-code framing."""
    if not length_bytes:
        found = nal.units(memoryview(extradata), 0)
        return [bytes(unit[:_SPS_BYTES]) for unit in found if unit[0] & 31 == _SPS]
    size = int.from_bytes(extradata[6:8])
    return [extradata[8 : 8 + min(size, _SPS_BYTES)]] if size > 3 else []


class _Bits:
    """Reads bits, most significant first, after removing emulation prevention bytes."""

    def __init__(self, unit: bytes) -> None:
        payload = unit.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(payload)
        self._left = 8 * len(payload)
        self.spent = False

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number; 0 once there are no more."""
        if count > self._left:
            self.spent, self._left = True, 0
            return 0
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """Return an unsigned Exp-Golomb number (H.264 9.1).

        >>> [_Bits(bytes([b])).exp_golomb() for b in (0b1_0000000, 0b010_00000, 0b00111_000)]
        [0, 1, 6]
        """
        zeros = 0
        while not self.spent and zeros < 32 and self.take(1) == 0:
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
