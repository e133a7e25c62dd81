"""torch's caching allocator, by the rules of its source, and by invariants."""

import itertools
import random

import pytest

from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.predict.caching_allocator import CachingAllocator

MIB = 2**20
NO_LIMIT = 2**45


def test_pages_are_of_2_mib_for_small_sizes_and_of_20_for_large_ones():
    allocator = CachingAllocator(NO_LIMIT)
    allocator.allocate(1)
    assert allocator.reserved == 2 * MIB
    allocator.allocate(MIB)  # still small, and in the same page
    assert allocator.reserved == 2 * MIB
    allocator.allocate(MIB + 1)
    assert allocator.reserved == 22 * MIB
    allocator.allocate(20 * MIB)  # 1 MiB and 512 bytes of its place are in the page before
    assert allocator.reserved == 42 * MIB


def test_the_smallest_block_that_is_large_enough_is_taken():
    allocator = CachingAllocator(NO_LIMIT)
    blocks = [allocator.allocate(size * MIB) for size in (30, 10, 20, 10, 35, 10)]
    for index in (0, 2, 4):
        allocator.free(blocks[index])
    before = allocator.reserved
    assert allocator.allocate(18 * MIB).start == blocks[2].start
    assert allocator.allocate(31 * MIB).start == blocks[4].start
    assert allocator.allocate(30 * MIB).start == blocks[0].start
    assert allocator.reserved == before


def test_what_can_grow_is_taken_last():
    """The free block before unmapped addresses counts as large as they are."""
    allocator = CachingAllocator(NO_LIMIT)
    hole, _, end = (allocator.allocate(size * MIB) for size in (50, 10, 30))
    allocator.free(hole)
    allocator.free(end)  # the smaller one, with unmapped addresses behind it
    assert allocator.allocate(25 * MIB).start == hole.start


def test_a_request_grows_into_unmapped_pages():
    allocator = CachingAllocator(NO_LIMIT)
    allocator.allocate(30 * MIB)  # 10 MiB of its second page are free
    allocator.allocate(45 * MIB)
    assert allocator.reserved == 80 * MIB


def test_gaps_cost_memory_only_within_pages():
    """40 MiB in a hole are unmapped when the limit is reached; 6 MiB in a page are lost."""
    allocator = CachingAllocator(120 * MIB)
    hole, _, part, _ = (allocator.allocate(size * MIB) for size in (40, 20, 6, 34))
    allocator.free(hole)
    allocator.free(part)
    assert allocator.reserved == 100 * MIB
    with pytest.raises(OutOfMemory) as error:
        allocator.allocate(62 * MIB)
    assert error.value.missing == 2 * MIB
    assert allocator.reserved == 60 * MIB
    allocator.allocate(60 * MIB)
    assert allocator.reserved == allocator.limit


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_overlap_and_nothing_is_lost(seed):
    draw = random.Random(seed)
    allocator = CachingAllocator(1000 * MIB)
    blocks = []
    failed = 0
    for turn in range(3000):
        if blocks and draw.random() < (0.45 if turn % 1000 < 700 else 0.8):
            allocator.free(blocks.pop(draw.randrange(len(blocks))))
        elif draw.random() < 0.01:
            allocator.empty_cache()
        else:
            try:
                blocks.append(allocator.allocate(int(2 ** draw.uniform(0, 28))))
            except OutOfMemory:
                failed += 1
        assert allocator.reserved <= allocator.limit + 18 * MIB  # its last page can be larger
    assert failed
    pools = allocator._small, allocator._large
    for pool in pools:
        spans = sorted((b.start, b.start + b.size) for b in blocks if b.pool is pool)
        spans += [(b.start, b.start + b.size) for _, _, b in pool.mapped]
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    used = sum(block.size for block in blocks)
    idle = sum(size for pool in pools for size, _, _ in pool.mapped)
    assert used + idle == allocator.reserved
    for block in blocks:
        allocator.free(block)
    allocator.empty_cache()
    assert allocator.reserved == 0
