"""Arrays whose elements are in the pages of an address space, in memory or swapped out.

An `MmArray` has a shape and a dtype as an array of NumPy, and has no memory of its own. An index copies
elements out into a new array of NumPy, and an assignment copies elements in. Both go through the page
faults of `swapcore.Mm`, so an array may be larger than the memory of its group.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from types import EllipsisType
from typing import TYPE_CHECKING, Generic, NamedTuple, SupportsIndex, TypeVar, cast, overload

import numpy as np

from ._core import PAGE_SIZE
from .exceptions import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ._core import Mm

__all__ = ["MmArray"]

ScalarT = TypeVar("ScalarT", bound=np.generic)
"""NumPy's type of an element of an array."""

# The number of bytes that one copy of a strided index or of an assignment spans, and of a block of
# `blocks()`.
_PIECE_BYTES = 1 << 20


class _Place(NamedTuple):
    """The elements that an index selects.

    ``offset_bytes`` is the first element from the start of the array; ``shape`` and ``strides`` are NumPy's.
    """

    offset_bytes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def axes(self) -> list[int]:
        """Returns the axes of more than one element, the smallest distance of elements first."""
        axes = (axis for axis, length in enumerate(self.shape) if length > 1)
        return sorted(axes, key=lambda axis: abs(self.strides[axis]))

    def span_bytes(self, item_bytes: int) -> int:
        """Returns the number of bytes from the first byte of all elements to the last byte."""
        distances = ((n - 1) * abs(stride) for n, stride in zip(self.shape, self.strides, strict=True))
        return sum(distances) + item_bytes

    def start_bytes(self) -> int:
        """Returns the first byte of all elements, from the start of the array."""
        backward = ((n - 1) * min(stride, 0) for n, stride in zip(self.shape, self.strides, strict=True))
        return self.offset_bytes + sum(backward)

    def is_dense(self, item_bytes: int) -> bool:
        """Returns whether the elements lie in memory in the order of the index and without a gap."""
        expected = item_bytes
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n > 1 and stride != expected:
                return False
            expected *= n
        return True

    def pieces(self, item_bytes: int, starts: tuple[int, ...] | None = None) -> Iterator[_Piece]:
        """Cuts the elements into pieces that each span at most `_PIECE_BYTES` and skip no whole page."""
        starts = starts or (0,) * len(self.shape)
        axes = self.axes()
        span, has_gap = item_bytes, False
        for axis in axes:
            stride = abs(self.strides[axis])
            has_gap |= stride - span >= PAGE_SIZE
            inner, span = span, span + (self.shape[axis] - 1) * stride
        if not axes or (span <= _PIECE_BYTES and not has_gap):
            yield _Piece(starts, self)
            return
        # The cut goes through the axis of the largest distance, so that the parts lie behind each other in
        # memory.
        nr = 1 if has_gap else max(1, (_PIECE_BYTES - inner) // stride + 1)
        for at in range(0, self.shape[axis], nr):
            shape = list(self.shape)
            shape[axis] = min(nr, self.shape[axis] - at)
            part = _Place(self.offset_bytes + at * self.strides[axis], tuple(shape), self.strides)
            yield from part.pieces(item_bytes, (*starts[:axis], starts[axis] + at, *starts[axis + 1 :]))


class _Piece(NamedTuple):
    """A part of the elements of an index, and the part's start on each axis of the index."""

    starts: tuple[int, ...]
    place: _Place

    @property
    def selected(self) -> tuple[slice, ...]:
        """The part in an array that has the shape of the whole index."""
        return tuple(slice(at, at + n) for at, n in zip(self.starts, self.place.shape, strict=True))


def _position(part: object, axis: int, length: int) -> int:
    """Returns the position that an integer of an index selects."""
    is_array = isinstance(part, np.ndarray) and part.ndim > 0
    if is_array or isinstance(part, (bool, np.bool_)) or not isinstance(part, SupportsIndex):
        raise IndexError(f"an index has integers, slices, Ellipsis and None, not {type(part).__name__}")
    at = operator.index(part)
    if not -length <= at < length:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {length}")
    return at % length


def _parts(key: object, nr_axes: int) -> list[object]:
    """Returns the parts of an index, with a slice for each axis that the index leaves out."""
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [at for at, part in enumerate(parts) if part is Ellipsis]
    nr_left_out = nr_axes - sum(part is not None and part is not Ellipsis for part in parts)
    if nr_left_out < 0:
        raise IndexError(f"the index has {nr_axes - nr_left_out} axes, and the array has {nr_axes}")
    if len(dots) > 1:
        raise IndexError(f"an index has at most 1 Ellipsis, not {len(dots)}")
    at = dots[0] if dots else len(parts)
    parts[at : at + 1] = [slice(None)] * nr_left_out
    return parts


def _select(whole: _Place, key: object) -> _Place:
    """Returns the elements that an index selects, by the rules of NumPy's basic indexing."""
    offset_bytes, shape, strides = whole.offset_bytes, list[int](), list[int]()
    axis = 0
    for part in _parts(key, len(whole.shape)):
        if part is None:
            shape.append(1)
            strides.append(0)
            continue
        length, stride = whole.shape[axis], whole.strides[axis]
        if isinstance(part, slice):
            chosen = range(length)[part]
            offset_bytes += chosen.start * stride if chosen else 0
            shape.append(len(chosen))
            strides.append(chosen.step * stride)
        else:
            offset_bytes += _position(part, axis, length) * stride
        axis += 1
    return _Place(offset_bytes, tuple(shape), tuple(strides))


def _checked_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Returns a shape as a tuple."""
    lengths = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    if any(length < 0 for length in lengths):
        raise invalid(f"a length of a shape is 0 or more, not {min(lengths)}")
    return lengths


def _checked_dtype(dtype: npt.DTypeLike | None) -> np.dtype[np.generic]:
    """Returns a dtype whose items are plain bytes of a fixed number."""
    found: np.dtype[np.generic] = np.dtype(dtype)
    if found.hasobject or found.itemsize == 0 or found.subdtype is not None:
        raise invalid(f"dtype {found} cannot be kept in pages: items must be plain bytes of a fixed number")
    return found


class MmArray(Generic[ScalarT]):
    """An array in the pages of an address space; `swapcore.Mm.array` makes arrays.

    ``array[index]`` returns a copy of elements as a new array of NumPy, and ``array[index] = values`` copies
    values in. An index has integers, slices, Ellipsis and None, with the meaning that NumPy gives to
    them. A slice with step 1 along the first axis is the fast path: one copy between the pages and the
    array of NumPy. Any other index copies pieces of at most 1 MiB with the elements between the selected
    elements, and skips each page without a selected element. An assignment through such an index also
    writes the elements between back, with the values that they had, so another thread must not write
    these elements at the same time.

    ``np.asarray(array)``, and each function of NumPy that gets the whole array, copies all elements.

    The array keeps its address space alive, and the address space keeps the pages until it ends. Pages of
    the array are the pages ``first_page`` to ``first_page + nr_pages - 1`` of ``mm``: `Mm.pageout` swaps
    them out, and `Mm.zap` drops them, so that all elements are zero bytes. A fork has a copy of the
    pages, and ``child.array(array.shape, array.dtype, first_page=array.first_page)`` is the array there.

    Errors of each copy: those of `Mm.read` and `Mm.write`. After a failed assignment the elements before the
    failing page are written.
    """

    __slots__ = ("_cpu", "_dtype", "_first_page", "_mm", "_whole")

    def __init__(
        self,
        mm: Mm,
        shape: int | Sequence[int],
        dtype: npt.DTypeLike | None = None,
        *,
        first_page: int | None = None,
        orders: int | None = None,
        anon_order: int = 0,
        cpu: int | None = None,
    ) -> None:
        self._mm, self._cpu = mm, cpu
        self._dtype = cast("np.dtype[ScalarT]", _checked_dtype(dtype))
        lengths = _checked_shape(shape)
        strides = tuple(self._dtype.itemsize * math.prod(lengths[axis + 1 :]) for axis in range(len(lengths)))
        self._whole = _Place(0, lengths, strides)
        if first_page is None:
            first_page = mm.mmap(self.nr_pages, orders=orders, anon_order=anon_order)
        self._first_page = first_page

    @property
    def mm(self) -> Mm:
        """The address space."""
        return self._mm

    @property
    def first_page(self) -> int:
        """Number of the page with the first element, which is at the start of the page."""
        return self._first_page

    @property
    def nr_pages(self) -> int:
        """Number of pages with elements; 1 for an array without elements."""
        return max(1, -(-self.nbytes // PAGE_SIZE))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of elements along each axis."""
        return self._whole.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[ScalarT]:
        """The type of an element."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Number of bytes of all elements."""
        item_bytes: int = self._dtype.itemsize
        return self.size * item_bytes

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<MmArray: shape {self.shape}, {self._dtype}, first page {self._first_page}>"

    def _read(self, place: _Place) -> npt.NDArray[np.uint8]:
        """Returns the bytes that the elements of an index span."""
        buffer = np.empty(place.span_bytes(self._dtype.itemsize), np.uint8)
        self._mm.read_into(self._address(place), buffer.data, cpu=self._cpu)
        return buffer

    def _address(self, place: _Place) -> int:
        return self._first_page * PAGE_SIZE + place.start_bytes()

    def _view(self, buffer: npt.NDArray[np.uint8], place: _Place) -> npt.NDArray[ScalarT]:
        """Returns the elements of an index in a buffer of `_read`."""
        offset = place.offset_bytes - place.start_bytes()
        return np.ndarray(place.shape, self._dtype, buffer, offset, place.strides)

    @overload
    def __getitem__(self, key: slice | EllipsisType | None) -> npt.NDArray[ScalarT]: ...
    # Integers give an element if there is one for each axis, and else an array. A tuple with a slice, an
    # Ellipsis or None always gives an array; mypy cannot express that the tuple has one.
    @overload
    def __getitem__(  # type: ignore[overload-overlap]
        self, key: SupportsIndex | tuple[SupportsIndex, ...]
    ) -> ScalarT | npt.NDArray[ScalarT]: ...
    @overload
    def __getitem__(
        self, key: tuple[SupportsIndex | slice | EllipsisType | None, ...]
    ) -> npt.NDArray[ScalarT]: ...
    def __getitem__(self, key: object) -> ScalarT | npt.NDArray[ScalarT]:
        place = _select(self._whole, key)
        out: npt.NDArray[ScalarT] = np.empty(place.shape, self._dtype)
        if out.size and place.is_dense(self._dtype.itemsize):
            flat = out.reshape(-1).view(np.uint8)
            self._mm.read_into(self._address(place), flat.data, cpu=self._cpu)
        elif out.size:
            for piece in place.pieces(self._dtype.itemsize):
                out[piece.selected] = self._view(self._read(piece.place), piece.place)
        has_dots = isinstance(key, EllipsisType) or (
            isinstance(key, tuple) and any(part is Ellipsis for part in key)
        )
        return out if out.ndim or has_dots else cast("ScalarT", out[()])

    def __setitem__(self, key: object, values: npt.ArrayLike) -> None:
        place = _select(self._whole, key)
        source = np.asarray(values, self._dtype)
        while source.ndim > len(place.shape) and source.shape[0] == 1:
            source = source[0]
        source = np.broadcast_to(source, place.shape)
        if not source.size:
            return
        for piece in place.pieces(self._dtype.itemsize):
            part = source[piece.selected]
            if piece.place.is_dense(self._dtype.itemsize):
                buffer = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            else:
                buffer = self._read(piece.place)
                self._view(buffer, piece.place)[...] = part
            self._mm.write(self._address(piece.place), buffer.data, cpu=self._cpu)

    def __iter__(self) -> Iterator[ScalarT | npt.NDArray[ScalarT]]:
        return (self[row] for row in range(len(self)))

    @overload
    def __array__(self, dtype: None = None, copy: bool | None = None) -> npt.NDArray[ScalarT]: ...
    @overload
    def __array__(self, dtype: npt.DTypeLike, copy: bool | None = None) -> npt.NDArray[np.generic]: ...
    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[np.generic]:
        if copy is False:
            raise ValueError("an array in pages of an address space can only be copied")
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def fill(self, value: npt.ArrayLike) -> None:
        """Writes one value to all elements, 1 MiB at a time.

        Args:
            value: The value, which is converted as by an assignment.
        """
        self[...] = value

    def blocks(
        self, nr_rows: int | None = None
    ) -> Iterator[tuple[slice[int, int, None], npt.NDArray[ScalarT]]]:
        """Copies the array out block by block, in the order of the first axis.

        ``for rows, block in array.blocks(): array[rows] = kernel(block)`` updates the array in place, and
        needs memory for one block.

        Args:
            nr_rows: The number of rows of a block; the last block may have fewer. None takes as many rows
                as fit 1 MiB, and at least 1.

        Returns:
            An iterator over the rows of each block and a copy of the block. A block is copied when the
            iterator reaches the block.

        Raises:
            InvalidArgumentError: ``nr_rows`` is below 1 (EINVAL).
        """
        row_bytes = self.nbytes // max(1, len(self))
        if nr_rows is None:
            nr_rows = max(1, _PIECE_BYTES // max(1, row_bytes))
        if nr_rows < 1:
            raise invalid(f"number of rows is 1 or more, not {nr_rows}")
        ranges = (slice(at, min(at + nr_rows, len(self))) for at in range(0, len(self), nr_rows))
        return ((rows, self[rows]) for rows in ranges)
