"""torch's caching allocator for CUDA with expandable segments, without memory behind it.

Tensors may be small enough for a limit and not fit all the same, since what is free lies in gaps
between them. How large the gaps are follows from the order of allocations alone:

- There are two pools, for sizes up to 1 MiB and above. Each is one range of addresses, of which
  pages (2 and 20 MiB) are mapped when needed; what is mapped counts against the limit.
- A request takes the smallest free block that is large enough, and splits it. The block before
  unmapped addresses counts as large as these, so others are taken first.
- If none is, the first range of free and unmapped addresses is mapped as far as needed. Where all
  of the request would exceed the limit, free pages are unmapped first, and it is tried once more.
- A block that is freed is merged with free neighbours; its pages stay mapped.

Source: torch, c10/cuda/CUDACachingAllocator.cpp (`malloc`, `get_free_block`, `alloc_block`,
`try_allocate_expandable_block`, `map_block`, `release_cached_blocks`), version 2.11.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from dataclasses import dataclass, field

from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.predict.scratch import granules

_LARGEST_SMALL = 2**20
_PAGE = 2 * 2**20
LARGE_PAGE = 20 * 2**20
"""Bytes of a page for requests above 1 MiB; by about one, a GPU differs from what is said here."""
_ROUNDED_TO_PAGES = 10 * 2**20
"""Bytes from which a request counts against the limit by itself, and not as a large page."""
_RANGE = 2**24 * LARGE_PAGE
"""Bytes of the addresses of a range: whole pages, and more than any device has."""


@dataclass(eq=False, slots=True)
class Block:
    """A part of a range of addresses, between two neighbours."""

    pool: _Pool
    start: int
    size: int
    mapped: bool
    allocated: bool = False
    before: Block | None = None
    after: Block | None = None

    def split(self, size: int) -> Block:
        """Keep the first `size` bytes; return the rest, which is in no list yet."""
        rest = Block(self.pool, self.start + size, self.size - size, self.mapped)
        rest.before, rest.after = self, self.after
        if self.after is not None:
            self.after.before = rest
        self.after, self.size = rest, size
        return rest

    def expandable_size(self) -> int:
        """Its bytes and those of the unmapped addresses behind it."""
        after = self.after
        return self.size + (0 if after is None or after.mapped else after.size)


@dataclass(eq=False)
class _Pool:
    """Blocks of one kind of size; the lists hold those that are free."""

    page: int
    mapped: list[tuple[int, int, Block]] = field(default_factory=list)
    """By size, then address."""
    unmapped: list[tuple[int, Block]] = field(default_factory=list)
    """By address."""

    def insert(self, block: Block) -> Block:
        """Merge a free block with its free neighbours, and list it."""
        for other in (block.before, block.after):
            if other is None or other.allocated or other.mapped != block.mapped:
                continue
            self.remove(other)
            if other is block.before:
                block.start, block.before = other.start, other.before
                if other.before is not None:
                    other.before.after = block
            else:
                block.after = other.after
                if other.after is not None:
                    other.after.before = block
            block.size += other.size
        if block.mapped:
            insort(self.mapped, (block.size, block.start, block))
        else:
            insort(self.unmapped, (block.start, block))
        return block

    def remove(self, block: Block) -> None:
        """Take a free block out of its list."""
        if block.mapped:
            del self.mapped[bisect_left(self.mapped, (block.size, block.start))]
        else:
            del self.unmapped[bisect_left(self.unmapped, (block.start,))]

    def best_fit(self, size: int) -> Block | None:
        """The mapped block that torch takes for a request, if one is large enough."""
        index = bisect_left(self.mapped, (size,))
        if index == len(self.mapped):
            return None
        found = self.mapped[index][2]
        for _, _, block in itertools.islice(self.mapped, index + 1, None):
            if block.expandable_size() >= found.expandable_size():
                break
            found = block
        self.remove(found)
        return found

    def place(self, size: int) -> Block:
        """The first block of free addresses that are enough, mapped or not."""
        for _, unmapped in self.unmapped:
            first = unmapped.before
            if first is None or first.allocated:
                first = unmapped
            if self._room(first, size) >= size:
                return first
        last = self.unmapped[-1][0] if self.unmapped else -1
        start = (last // _RANGE + 1) * _RANGE  # a new range
        return self.insert(Block(self, start, _RANGE, mapped=False))

    @staticmethod
    def _room(first: Block, size: int) -> int:
        """Bytes of the free addresses from a block on, as far as `size`."""
        room = 0
        block: Block | None = first
        while room < size and block is not None and not block.allocated:
            room, block = room + block.size, block.after
        return room


class CachingAllocator:
    """Gives out addresses as torch does on a device of which it may use `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        """Bytes that are mapped."""
        self.peak_reserved = 0
        self._small, self._large = _Pool(_PAGE), _Pool(LARGE_PAGE)

    def allocate(self, nbytes: int) -> Block:
        """A block of at least `nbytes`.

        Raises:
            OutOfMemory: the limit leaves no room, even without what is cached.
        """
        size = max(granules(nbytes), granules(1))
        small = size <= _LARGEST_SMALL
        pool = self._small if small else self._large
        block = pool.best_fit(size)
        if block is None:
            counted = -(-size // _PAGE) * _PAGE
            if not small and size < _ROUNDED_TO_PAGES:
                counted = LARGE_PAGE
            if self.reserved + counted > self.limit:
                self.empty_cache()
            missing = self.reserved + counted - self.limit
            if missing > 0:
                raise OutOfMemory(f"{missing} bytes beyond a limit of {self.limit}", missing)
            block = self._expand(pool, size)
        if block.size > size:
            rest = block.split(size)
            block.allocated = True
            pool.insert(rest)
        block.allocated = True
        return block

    def free(self, block: Block) -> None:
        """Take a block back; its pages stay mapped."""
        block.allocated = False
        block.pool.insert(block)

    def empty_cache(self) -> None:
        """Unmap the pages that no block has a part of."""
        for pool in (self._large, self._small):
            for _, _, block in list(pool.mapped):
                first = -(-block.start // pool.page) * pool.page
                last = (block.start + block.size) // pool.page * pool.page
                if first < last:
                    self._unmap(pool, block, first, last)

    def _unmap(self, pool: _Pool, block: Block, first: int, last: int) -> None:
        pool.remove(block)
        parts = [block]
        if first > block.start:
            parts.append(block.split(first - block.start))
        pages = parts[-1]
        if pages.start + pages.size > last:
            parts.append(pages.split(last - pages.start))
        pages.mapped = False
        self.reserved -= pages.size
        for part in parts:
            pool.insert(part)

    def _expand(self, pool: _Pool, size: int) -> Block:
        """Map what a request lacks."""
        block = pool.place(size)
        if not block.mapped:
            block = self._map(pool, block, min(block.size, size))
        while block.size < size:
            assert block.after is not None
            block = self._map(pool, block.after, min(size - block.size, block.after.size))
        pool.remove(block)
        return block

    def _map(self, pool: _Pool, block: Block, size: int) -> Block:
        """Map the first pages of unmapped addresses; return them with the free block before."""
        pool.remove(block)
        pages = -(-size // pool.page) * pool.page
        rest = block.split(pages) if pages < block.size else None
        block.mapped = True
        block = pool.insert(block)
        if rest is not None:
            pool.insert(rest)
        self.reserved += pages
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return block
