/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instruction set.
 *
 * Frames are windows on one stack that grows up. Slot i of the running function is fp[i]:
 *
 *     fp[-1]            return address (a raw code address; low bits 00)
 *     fp[0]             the callee itself: FUN or CLOSURE (a native's window has anything there)
 *     fp[1]..fp[n]      the arguments; a variadic function finds its rest tuple in fp[params + 1]
 *     fp[n+1]..         locals and temporaries, up to frame_slots
 *
 * A call with window t: the caller puts the callee into slot t and the arguments into t+1.., keeps
 * slot t-1 free, and CALL makes slot t the callee's slot 0. Nothing is copied. All slots from t-1
 * on are clobbered by the call; the slots below t-1 survive. The result goes to slot C of the
 * caller. The caller's fp is found again from the CALL in front of the return address (its A
 * operand), so a frame holds no absolute stack address and the stack may move.
 *
 * There is no register that a call destroys, so nothing needs saving around calls. Which slots hold
 * live terms at a safepoint is computed by the linker (interp/verify.c) by backward liveness over
 * the code and written into the instruction's last word; the compiler emits that word as 0. Reading
 * a slot that isn't written on every path is refused. For space safety a slot dies with its last
 * read, so the compiler need not clear anything; it only should reuse slots.
 *
 * Tail calls reuse the frame: callee and arguments are moved from the window to slots 0...
 *
 * Instruction word: opcode bits 15..0, A 31..16, B 47..32, C 63..48. "wide" is one signed 32-bit
 * operand in bits 63..32 (B and C together). Extension words follow, 64 bits each. Jump distances
 * count words and are relative to the instruction's first word. A jump must land on the first word
 * of an instruction of the same function. Unused operands are 0.
 *
 * Every instruction may raise; an error inside a guard range (struct code_guard) continues at the
 * guard's target, any other ends the process with [:error kind info].
 */
#pragma once

#include <base/compiler.h>

/* What an operand means, for the verifier, the disassembler and liveness. */
enum operand {
    O_NONE,
    O_DST,    /* slot written, when the instruction falls through (not when it jumps) */
    O_SRC,    /* slot read */
    O_IMM,    /* unsigned number */
    O_SIGNED, /* signed 16-bit number */
    O_JUMP,   /* signed 16-bit distance */
    O_WNUM,   /* wide: signed number */
    O_WJUMP,  /* wide: distance */
    O_WINDOW, /* A: call window t; reads slot t (if O_CALLEE says so) and t+1..t+B; clobbers t-1..
               */
    O_GROUP,  /* first slot of a run of slots read; their count is C (times two for maps) */
};

enum extension {
    E_NONE,
    E_CONST,  /* index of a constant; linked: the term */
    E_VAR,    /* index of a constant that is a VAR; linked: its address */
    E_NATIVE, /* index of a constant that is a native; linked: address of its struct native */
    E_FUN,    /* index of a function of the unit; linked: address of its struct fun */
    E_JUMP,   /* distance as a signed 64-bit word */
    E_MAP,    /* safepoint: emitted as 0, filled in by the linker. Always the last word. */
};

enum op_flag {
    OF_CALLEE = 1, /* the window's slot t is read */
    OF_END = 2,    /* never falls through */
    OF_PAIRS = 4,  /* the group has 2 * C slots */
    OF_TABLE = 8,  /* B pairs of words (constant index, distance) follow the fixed words */
    OF_SELF = 16,  /* reads slot 0 */
};

/*
 * OP(NAME, A, B, C, first extension, second extension, flags)
 * "jump" in the description is the O_JUMP/O_WJUMP/E_JUMP operand.
 */
#define LONA_OPS(OP)                                                                               \
    /* ---- moves ---- */                                                                          \
    OP(MOVE, DST, SRC, NONE, NONE, NONE, 0)      /* A <- B */                                      \
    OP(LOAD_INT, DST, WNUM, NONE, NONE, NONE, 0) /* A <- small integer */                          \
    OP(LOAD, DST, NONE, NONE, CONST, NONE, 0)    /* A <- constant */                               \
    OP(LOAD_NIL, DST, NONE, NONE, NONE, NONE, 0) /* A <- nil */                                    \
    OP(VAR_GET, DST, NONE, NONE, VAR, NONE, 0)   /* A <- value of var; :undef */                   \
    OP(CAPTURE, DST, SRC, IMM, NONE, NONE, 0)    /* A <- capture C of closure B */                 \
    OP(CLOSURE, DST, GROUP, IMM, FUN, MAP,                                                         \
       0) /* A <- closure of FUN over C slots from B; C = 0: the FUN */                            \
    /* ---- calls: A window, B argument count, C result slot ---- */                               \
    OP(CALL, WINDOW, IMM, DST, MAP, NONE, OF_CALLEE) /* callee in slot A */                        \
    OP(CALL_VAR, WINDOW, IMM, DST, VAR, MAP, 0) /* callee is the var's value, put into slot A */   \
    OP(CALL_SELF, WINDOW, IMM, DST, FUN, MAP,                                                      \
       OF_SELF) /* FUN is the running function, slot 0 its callee term; count right */             \
    OP(NATIVE, WINDOW, IMM, DST, NATIVE, MAP, 0) /* same window; slot A is not read */             \
    OP(TAIL, WINDOW, IMM, NONE, NONE, NONE, OF_CALLEE | OF_END)                                    \
    OP(TAIL_VAR, WINDOW, IMM, NONE, VAR, NONE, OF_END)                                             \
    OP(TAIL_SELF, WINDOW, IMM, NONE, FUN, NONE, OF_SELF | OF_END)                                  \
    OP(TAIL_NATIVE, WINDOW, IMM, NONE, NATIVE, MAP, OF_END)                                        \
    OP(RETURN, SRC, NONE, NONE, NONE, NONE, OF_END)                                                \
    /* ---- jumps ---- */                                                                          \
    OP(JUMP, NONE, WJUMP, NONE, NONE, NONE, OF_END)                                                \
    OP(J_FALSE, SRC, WJUMP, NONE, NONE, NONE, 0) /* jump if nil or false */                        \
    OP(J_TRUE, SRC, WJUMP, NONE, NONE, NONE, 0)  /* jump unless nil or false */                    \
    OP(J_HOLE, SRC, WJUMP, NONE, NONE, NONE, 0)  /* jump if TERM_HOLE (a match native said no) */  \
    OP(J_NOT_NIL, SRC, WJUMP, NONE, NONE, NONE, 0)   /* jump unless nil */                         \
    OP(J_NOT_PAIR, SRC, WJUMP, NONE, NONE, NONE, 0)  /* jump unless a non-empty list */            \
    OP(J_NOT_EMPTY, SRC, WJUMP, NONE, NONE, NONE, 0) /* jump unless () */                          \
    OP(J_NOT_TYPE, SRC, IMM, JUMP, NONE, NONE, 0)  /* jump unless A has type B (enum type_code) */ \
    OP(J_NOT_TUPLE, SRC, IMM, JUMP, NONE, NONE, 0) /* jump unless a tuple of exactly B */          \
    OP(J_NOT_TUPLE_GE, SRC, IMM, JUMP, NONE, NONE, 0)                                              \
    OP(J_NOT_VECTOR, SRC, IMM, JUMP, NONE, NONE, 0) /* jump unless a vector of exactly B */        \
    OP(J_NOT_VECTOR_GE, SRC, IMM, JUMP, NONE, NONE, 0)                                             \
    OP(J_NOT_EQ, SRC, SRC, JUMP, NONE, NONE, 0) /* jump unless A = B (5.2) */                      \
    OP(J_EQ, SRC, SRC, JUMP, NONE, NONE, 0)                                                        \
    OP(J_NOT_CONST, SRC, WJUMP, NONE, CONST, NONE, 0) /* jump unless A = constant (5.2) */         \
    OP(J_NOT_LT, SRC, SRC, JUMP, NONE, NONE, 0)       /* jump unless A < B; :type-error */         \
    OP(J_NOT_LE, SRC, SRC, JUMP, NONE, NONE, 0)                                                    \
    OP(J_NOT_GT, SRC, SRC, JUMP, NONE, NONE, 0)                                                    \
    OP(J_NOT_GE, SRC, SRC, JUMP, NONE, NONE, 0)                                                    \
    OP(J_NOT_LT_INT, SRC, SIGNED, JUMP, NONE, NONE, 0) /* jump unless A < immediate */             \
    OP(J_NOT_LE_INT, SRC, SIGNED, JUMP, NONE, NONE, 0)                                             \
    OP(J_NOT_GT_INT, SRC, SIGNED, JUMP, NONE, NONE, 0)                                             \
    OP(J_NOT_GE_INT, SRC, SIGNED, JUMP, NONE, NONE, 0)                                             \
    OP(J_NOT_KEY, DST, SRC, SRC, JUMP, NONE,                                                       \
       0) /* A <- map B at key C; jump if no map or no key */                                      \
    OP(SWITCH, SRC, IMM, JUMP, NONE, NONE,                                                         \
       OF_TABLE) /* B entries; C is the default's distance. Keys are small integers, keywords,     \
                    symbols, chars, nil, true, false */                                            \
    /* ---- parts: all check what they take apart; with wrong code they raise :bad-code ---- */    \
    OP(HEAD, DST, SRC, NONE, NONE, NONE, 0)                                                        \
    OP(REST, DST, SRC, NONE, NONE, NONE, 0)                                                        \
    OP(TUPLE_GET, DST, SRC, IMM, NONE, NONE, 0)                                                    \
    OP(VECTOR_GET, DST, SRC, IMM, NONE, NONE, 0)                                                   \
    OP(REST_LIST, DST, SRC, IMM, MAP, NONE,                                                        \
       0) /* A <- list of elements of tuple or vector B from C */                                  \
    /* ---- building ---- */                                                                       \
    OP(CONS, DST, SRC, SRC, MAP, NONE, 0) /* A <- pair (B . C); C must be a list */                \
    OP(TUPLE, DST, GROUP, IMM, MAP, NONE, 0)                                                       \
    OP(VECTOR, DST, GROUP, IMM, MAP, NONE, 0)                                                      \
    OP(LIST, DST, GROUP, IMM, MAP, NONE, 0)                                                        \
    OP(MAP, DST, GROUP, IMM, MAP, NONE, OF_PAIRS) /* C entries: k v k v ...; later keys win */     \
    OP(SET, DST, GROUP, IMM, MAP, NONE, 0)                                                         \
    /* ---- arithmetic and comparison with values: semantics of the natives + - * < ... ---- */    \
    OP(ADD, DST, SRC, SRC, MAP, NONE, 0)                                                           \
    OP(SUB, DST, SRC, SRC, MAP, NONE, 0)                                                           \
    OP(MUL, DST, SRC, SRC, MAP, NONE, 0)                                                           \
    OP(QUOT, DST, SRC, SRC, MAP, NONE, 0)                                                          \
    OP(REM, DST, SRC, SRC, MAP, NONE, 0)                                                           \
    OP(MOD, DST, SRC, SRC, MAP, NONE, 0)                                                           \
    OP(ADD_INT, DST, SRC, SIGNED, MAP, NONE, 0) /* A <- B + immediate */                           \
    OP(SUB_INT, DST, SRC, SIGNED, MAP, NONE, 0)                                                    \
    OP(LT, DST, SRC, SRC, NONE, NONE, 0)                                                           \
    OP(LE, DST, SRC, SRC, NONE, NONE, 0)                                                           \
    OP(GT, DST, SRC, SRC, NONE, NONE, 0)                                                           \
    OP(GE, DST, SRC, SRC, NONE, NONE, 0)                                                           \
    OP(EQ, DST, SRC, SRC, NONE, NONE, 0)                                                           \
    OP(NOT, DST, SRC, NONE, NONE, NONE, 0)                                                         \
    /* ---- failing ---- */                                                                        \
    OP(BADMATCH, SRC, NONE, NONE, NONE, NONE, OF_END) /* [:error :badmatch %{:value A}] */         \
    /* ---- receive (section 4.6) ---- */                                                          \
    OP(RECV_BEGIN, NONE, NONE, NONE, NONE, NONE, 0)   /* save pointer to head, deadline cleared */ \
    OP(RECV_DEADLINE, SRC, NONE, NONE, NONE, NONE, 0) /* A: ms >= 0 or :infinity; :badarg */       \
    OP(RECV_PEEK, DST, WJUMP, NONE, NONE, NONE,                                                    \
       0) /* A <- message at the save pointer; jump if none */                                     \
    OP(RECV_ACCEPT, NONE, NONE, NONE, NONE, NONE, 0) /* unlink it, deadline cleared */             \
    OP(RECV_NEXT, NONE, WJUMP, NONE, MAP, NONE,                                                    \
       OF_END) /* advance save pointer, jump (to the peek); may yield */                           \
    OP(RECV_WAIT, NONE, WJUMP, NONE, MAP, NONE,                                                    \
       0) /* more messages: jump (to the peek); deadline passed: fall through; else park */

enum op {
#define OP(name, a, b, c, e1, e2, flags) OP_##name,
    LONA_OPS(OP)
#undef OP
    OP_COUNT
};

struct op_info {
    const char *name;
    uint8_t a, b, c; /* enum operand */
    uint8_t e1, e2;  /* enum extension */
    uint8_t flags;   /* enum op_flag */
    uint8_t words;   /* without an OF_TABLE's entries */
};

extern const struct op_info op_info[OP_COUNT];

/* Operand B of J_NOT_TYPE; in step with section 5.1. */
enum type_code {
    TYPE_NIL,
    TYPE_BOOLEAN,
    TYPE_INTEGER,
    TYPE_FLOAT,
    TYPE_RATIO,
    TYPE_NUMBER,
    TYPE_CHAR,
    TYPE_STRING,
    TYPE_SYMBOL,
    TYPE_KEYWORD,
    TYPE_LIST,
    TYPE_TUPLE,
    TYPE_VECTOR,
    TYPE_MAP,
    TYPE_SET,
    TYPE_BINARY,
    TYPE_BYTEBUF,
    TYPE_FUNCTION,
    TYPE_VAR,
    TYPE_NAMESPACE,
    TYPE_PID,
    TYPE_REF,
    TYPE_PADDR,
    TYPE_VADDR,
    TYPE_COUNT
};

static inline uint64_t op_encode(enum op op, uint16_t a, uint16_t b, uint16_t c)
{
    return (uint64_t)op | (uint64_t)a << 16 | (uint64_t)b << 32 | (uint64_t)c << 48;
}

static inline uint64_t op_encode_wide(enum op op, uint16_t a, int32_t wide)
{
    return (uint64_t)op | (uint64_t)a << 16 | (uint64_t)(uint32_t)wide << 32;
}

static inline unsigned op_code(uint64_t w)
{
    return (unsigned)(w & 0xFFFF);
}

static inline unsigned op_a(uint64_t w)
{
    return (unsigned)(w >> 16 & 0xFFFF);
}

static inline unsigned op_b(uint64_t w)
{
    return (unsigned)(w >> 32 & 0xFFFF);
}

static inline unsigned op_c(uint64_t w)
{
    return (unsigned)(w >> 48);
}

static inline int op_signed_b(uint64_t w)
{
    return (int16_t)op_b(w);
}

static inline int op_signed_c(uint64_t w)
{
    return (int16_t)op_c(w);
}

static inline int32_t op_wide(uint64_t w)
{
    return (int32_t)(w >> 32);
}
