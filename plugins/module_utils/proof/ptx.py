"""The kernels of the proof as PTX, which the driver translates for whatever GPU there is: no toolkit is needed.

``fill`` and ``check`` write and compare words that follow from their place and a seed, so nothing that is stale or
shifted passes for right. ``product`` multiplies matrices of small whole numbers, whose result is exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator

# The oldest GPU and the oldest language that do: every driver since 2017 takes this.
_HEAD = ".version 6.0\n.target sm_50\n.address_size 64\n"

THREADS = 256
# A block makes 128 x 128 numbers of a product in steps of 8; a matrix has a multiple of 128 rows and columns.
TILE = 128
_DEPTH = 8
_TILE_BYTES = TILE * _DEPTH * 4


def program() -> str:
    """Return all kernels as one text."""
    return "\n".join([_HEAD, _FILL, _CHECK, _NUMBERS, _COMPARE, _product()])


# Every thread begins at its own number (%i) and goes on by the number of all threads (%step) until the end (%words).
_WALK = """    ld.param.u64 %words, [words];
    mov.u32 %t0, %ctaid.x;
    mov.u32 %t1, %ntid.x;
    mov.u32 %t2, %tid.x;
    mad.lo.u32 %t0, %t0, %t1, %t2;
    cvt.u64.u32 %i, %t0;
    mov.u32 %t0, %nctaid.x;
    mul.lo.u32 %t0, %t0, %t1;
    cvt.u64.u32 %step, %t0;
next:
    setp.ge.u64 %p, %i, %words;
    @%p bra done;
    shl.b64 %offset, %i, 2;"""
_AGAIN = """    add.u64 %i, %i, %step;
    bra next;
done:
    ret;
}
"""
_WALK_REGISTERS = """    .reg .pred %p;
    .reg .b32 %t0, %t1, %t2;
    .reg .b64 %words, %i, %step, %offset, %at;"""

# %x: the word of place %i with the seed %s; pattern.py says the same in Python.
_WORD = """    cvt.u32.u64 %x, %i;
    mad.lo.u32 %x, %x, 0x9E3779B1, %s;
    shr.u32 %t1, %x, 15;
    xor.b32 %x, %x, %t1;
    mul.lo.u32 %x, %x, 0x85EBCA6B;
    shr.u32 %t1, %x, 13;
    xor.b32 %x, %x, %t1;"""

_FILL = f"""
.visible .entry llmhost_fill(.param .u64 to, .param .u64 words, .param .u32 seed, .param .u32 flip)
{{
{_WALK_REGISTERS}
    .reg .b32 %s, %f, %x;
    .reg .b64 %to;
    ld.param.u64 %to, [to];
    ld.param.u32 %s, [seed];
    ld.param.u32 %f, [flip];
{_WALK}
{_WORD}
    xor.b32 %x, %x, %f;
    add.u64 %at, %to, %offset;
    st.global.u32 [%at], %x;
{_AGAIN}"""

# What is wrong goes into three words of 64 bits: how many, the first place, and the bits that differ anywhere.
_COUNT = """    setp.eq.u32 %q, %x, %y;
    @%q bra right;
    xor.b32 %x, %x, %y;
    cvt.u64.u32 %bits, %x;
    atom.global.add.u64 %old, [%report], 1;
    atom.global.min.u64 %old, [%report+8], %i;
    atom.global.or.b64 %old, [%report+16], %bits;
right:"""

# With several ranks the expected word is the sum of the words of as many seeds, one after the other.
_CHECK = f"""
.visible .entry llmhost_check(.param .u64 at, .param .u64 words, .param .u32 seed, .param .u32 flip, \
.param .u32 ranks, .param .u64 report)
{{
{_WALK_REGISTERS}
    .reg .pred %q, %more;
    .reg .b32 %s, %f, %x, %y, %sum, %rank, %first, %ranks;
    .reg .b64 %from, %report, %bits, %old;
    ld.param.u64 %from, [at];
    ld.param.u32 %first, [seed];
    ld.param.u32 %f, [flip];
    ld.param.u32 %ranks, [ranks];
    ld.param.u64 %report, [report];
{_WALK}
    mov.u32 %sum, 0;
    mov.u32 %rank, 0;
    mov.u32 %s, %first;
sum:
{_WORD}
    add.u32 %sum, %sum, %x;
    add.u32 %s, %s, 1;
    add.u32 %rank, %rank, 1;
    setp.lt.u32 %more, %rank, %ranks;
    @%more bra sum;
    xor.b32 %x, %sum, %f;
    add.u64 %at, %from, %offset;
    ld.global.u32 %y, [%at];
{_COUNT}
{_AGAIN}"""

# Whole numbers from 0 to 7 as floats: the sum of 4096 products of two stays far below 2^24.
_NUMBERS = f"""
.visible .entry llmhost_numbers(.param .u64 to, .param .u64 words, .param .u32 seed)
{{
{_WALK_REGISTERS}
    .reg .b32 %s, %x;
    .reg .f32 %number;
    .reg .b64 %to;
    ld.param.u64 %to, [to];
    ld.param.u32 %s, [seed];
{_WALK}
{_WORD}
    and.b32 %x, %x, 7;
    cvt.rn.f32.u32 %number, %x;
    add.u64 %at, %to, %offset;
    st.global.f32 [%at], %number;
{_AGAIN}"""

_COMPARE = f"""
.visible .entry llmhost_compare(.param .u64 one, .param .u64 other, .param .u64 words, .param .u64 report)
{{
{_WALK_REGISTERS}
    .reg .pred %q;
    .reg .b32 %x, %y;
    .reg .b64 %one, %other, %report, %bits, %old;
    ld.param.u64 %one, [one];
    ld.param.u64 %other, [other];
    ld.param.u64 %report, [report];
{_WALK}
    add.u64 %at, %one, %offset;
    ld.global.u32 %x, [%at];
    add.u64 %at, %other, %offset;
    ld.global.u32 %y, [%at];
{_COUNT}
{_AGAIN}"""


def _product() -> str:
    """Return the kernel C = A B for square matrices: each of 256 threads keeps 8 x 8 numbers of C in registers."""
    return "\n".join([_PRODUCT_BEGIN, *_steps(), _PRODUCT_NEXT, *_stores(), "    ret;", "}"])


def _steps() -> Iterator[str]:
    """Multiply what the block has in its shared memory: a row and a column of 8 numbers at a time."""
    for depth in range(_DEPTH):
        line = depth * TILE * 4
        for half in range(2):
            yield _load4("a", half, f"%left+{line + half * 256}")
            yield _load4("b", half, f"%right+{line + half * 256}")
        for row in range(8):
            for column in range(8):
                number = f"%c{row * 8 + column}"
                yield f"    fma.rn.f32 {number}, %a{row}, %b{column}, {number};"


def _load4(name: str, half: int, address: str) -> str:
    registers = ", ".join(f"%{name}{half * 4 + number}" for number in range(4))
    return f"    ld.shared.v4.f32 {{{registers}}}, [{address}];"


def _stores() -> Iterator[str]:
    """Write the 8 x 8 numbers: rows y..y+3 and y+64..y+67, columns in the same way."""
    for row in range(8):
        yield f"    add.u32 %t, %y, {row % 4 + row // 4 * 64};"
        yield "    mad.lo.u32 %t, %t, %n, %x;"
        yield "    mul.wide.u32 %at, %t, 4;"
        yield "    add.u64 %at, %C, %at;"
        for half in range(2):
            registers = ", ".join(f"%c{row * 8 + half * 4 + number}" for number in range(4))
            yield f"    st.global.v4.f32 [%at+{half * 256}], {{{registers}}};"


# A block brings 128 x 8 numbers of A (turned on their side) and 8 x 128 of B into shared memory, four a thread each.
_PRODUCT_BEGIN = (
    f"""
.visible .entry llmhost_product(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{{
    .shared .align 16 .b8 columns[{_TILE_BYTES}];
    .shared .align 16 .b8 rows[{_TILE_BYTES}];
    .reg .pred %p;
    .reg .b32 %n, %t, %u, %x, %y, %k, %thread, %left, %right, %putA, %putB, %arow, %acol, %brow, %bcol;
    .reg .b64 %A, %B, %C, %at, %fromA, %fromB, %stepB;
    .reg .f32 %a<8>, %b<8>, %c<64>, %v<4>;
    ld.param.u64 %A, [a];
    ld.param.u64 %B, [b];
    ld.param.u64 %C, [c];
    ld.param.u32 %n, [n];
    mov.u32 %thread, %tid.x;
    shr.u32 %arow, %thread, 1;
    and.b32 %acol, %thread, 1;
    shl.b32 %acol, %acol, 2;
    shr.u32 %brow, %thread, 5;
    and.b32 %bcol, %thread, 31;
    shl.b32 %bcol, %bcol, 2;
    mov.u32 %t, %ctaid.y;
    mad.lo.u32 %t, %t, {TILE}, %arow;
    mad.lo.u32 %t, %t, %n, %acol;
    mul.wide.u32 %fromA, %t, 4;
    add.u64 %fromA, %A, %fromA;
    mov.u32 %t, %ctaid.x;
    mul.lo.u32 %t, %t, {TILE};
    add.u32 %t, %t, %bcol;
    mad.lo.u32 %t, %brow, %n, %t;
    mul.wide.u32 %fromB, %t, 4;
    add.u64 %fromB, %B, %fromB;
    mul.wide.u32 %stepB, %n, {_DEPTH * 4};
    mov.u32 %t, columns;
    mad.lo.u32 %putA, %acol, {TILE}, %arow;
    mad.lo.u32 %putA, %putA, 4, %t;
    mov.u32 %u, rows;
    mad.lo.u32 %putB, %brow, {TILE}, %bcol;
    mad.lo.u32 %putB, %putB, 4, %u;
    shr.u32 %y, %thread, 4;
    shl.b32 %y, %y, 2;
    and.b32 %x, %thread, 15;
    shl.b32 %x, %x, 2;
    mad.lo.u32 %left, %y, 4, %t;
    mad.lo.u32 %right, %x, 4, %u;
    mov.u32 %t, %ctaid.y;
    mad.lo.u32 %y, %t, {TILE}, %y;
    mov.u32 %t, %ctaid.x;
    mad.lo.u32 %x, %t, {TILE}, %x;
"""
    + "\n".join([f"    mov.f32 %c{number}, 0f00000000;" for number in range(64)])
    + f"""
    mov.u32 %k, 0;
more:
    ld.global.v4.f32 {{%v0, %v1, %v2, %v3}}, [%fromA];
    st.shared.f32 [%putA], %v0;
    st.shared.f32 [%putA+{TILE * 4}], %v1;
    st.shared.f32 [%putA+{TILE * 8}], %v2;
    st.shared.f32 [%putA+{TILE * 12}], %v3;
    ld.global.v4.f32 {{%v0, %v1, %v2, %v3}}, [%fromB];
    st.shared.v4.f32 [%putB], {{%v0, %v1, %v2, %v3}};
    bar.sync 0;"""
)

_PRODUCT_NEXT = f"""    bar.sync 0;
    add.u64 %fromA, %fromA, {_DEPTH * 4};
    add.u64 %fromB, %fromB, %stepB;
    add.u32 %k, %k, {_DEPTH};
    setp.lt.u32 %p, %k, %n;
    @%p bra more;"""
