"""BLAKE3, hash, keyed and key derivation mode, from its specification (section 2). Slow, and small enough to check by eye."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 16, 32, 64
BLOCK, CHUNK, MASK = 64, 1024, 0xFFFFFFFF

# Columns, then diagonals: places in the state.
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def schedule():
    """For each of the seven rounds, which word of the block goes where."""
    order, rounds = tuple(range(16)), []
    for _ in range(7):
        rounds.append(order)
        order = tuple(order[place] for place in PERMUTATION)
    return rounds


SCHEDULE = schedule()


def compress(chaining, block, counter, length, flags):
    """The first eight words of the output are the next chaining value, all sixteen a block of the root's output."""
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32 & MASK, length, flags]
    m = struct.unpack("<16I", block.ljust(BLOCK, b"\0"))
    for order in SCHEDULE:
        for number, (a, b, c, d) in enumerate(QUARTERS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = va + vb + m[order[2 * number]] & MASK
            vd ^= va
            vd = (vd >> 16 | vd << 16) & MASK
            vc = vc + vd & MASK
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & MASK
            va = va + vb + m[order[2 * number + 1]] & MASK
            vd ^= va
            vd = (vd >> 8 | vd << 24) & MASK
            vc = vc + vd & MASK
            vb ^= vc
            vb = (vb >> 7 | vb << 25) & MASK
            v[a], v[b], v[c], v[d] = va, vb, vc, vd
    return tuple(v[i] ^ v[i + 8] for i in range(8)) + tuple(v[i + 8] ^ chaining[i] for i in range(8))


def chunk_end(key, data, counter, flags):
    """What the last compression of a chunk takes."""
    chaining, blocks = key, max(1, -(-len(data) // BLOCK))
    for number in range(blocks):
        block = data[number * BLOCK:(number + 1) * BLOCK]
        own = flags | (CHUNK_START if number == 0 else 0) | (CHUNK_END if number == blocks - 1 else 0)
        if number == blocks - 1:
            return chaining, block, counter, len(block), own
        chaining = compress(chaining, block, counter, BLOCK, own)[:8]


def tree(key, data, counter, flags):
    """What the topmost compression of a subtree takes; the left one is the largest full tree that leaves something."""
    if len(data) <= CHUNK:
        return chunk_end(key, data, counter, flags)
    chunks = (len(data) - 1) // CHUNK
    left = 1 << chunks.bit_length() - 1
    halves = ((data[:left * CHUNK], counter), (data[left * CHUNK:], counter + left))
    words = [word for part, at in halves for word in compress(*tree(key, part, at, flags))[:8]]
    return key, struct.pack("<16I", *words), 0, BLOCK, flags | PARENT


def output(key, data, flags, length=32):
    chaining, block, _, block_length, own = tree(key, bytes(data), 0, flags)
    out, counter = b"", 0
    # The counter of the root's compression is that of the output block.
    while len(out) < length:
        out += struct.pack("<16I", *compress(chaining, block, counter, block_length, own | ROOT))
        counter += 1
    return out[:length]


def plain(data):
    return output(IV, data, 0)


def keyed(key, data):
    return output(struct.unpack("<8I", key), data, KEYED_HASH)


def derive(context, material):
    key = output(IV, context.encode(), DERIVE_KEY_CONTEXT)
    return output(struct.unpack("<8I", key), material, DERIVE_KEY_MATERIAL)
