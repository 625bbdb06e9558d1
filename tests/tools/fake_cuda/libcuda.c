/* A CUDA driver without a GPU, for tests: memory of the host stands for that of GPUs, and the kernels of the proof are
   functions of C. FAKE_CUDA holds words: gpus=N, peer (GPUs reach each other), and faults:
     fail=FUNCTION:STATUS   a function fails
     hang=PLACE, crash=PLACE, wrong=PLACE
   The places: memory, checker, host, product, staged, copy, read, write. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16
#define CHUNK_WORDS (1u << 20) /* the memory test of the tests works in pieces of this size, nothing else does */

typedef struct { int device; uint64_t reaches; } context_t;
typedef struct { uint64_t from, bytes; int device; } piece_t;

static context_t contexts[MOST];
static context_t *current;
static piece_t pieces[4096];
static int piece_count;

static int told(const char *word) {
    const char *all = getenv("FAKE_CUDA"), *at = all;
    size_t length = strlen(word);
    while (at && (at = strstr(at, word))) {
        char end = at[length];
        if ((at == all || at[-1] == ' ') && (end == 0 || end == ' ' || word[length - 1] == '=')) return (int)(at - all) + 1;
        at += length;
    }
    return 0;
}

static int number(const char *key, int otherwise) {
    int at = told(key);
    return at ? atoi(getenv("FAKE_CUDA") + at - 1 + strlen(key)) : otherwise;
}

/* Do what FAKE_CUDA says about a place, and tell whether data shall be wrong there. */
static int fault(const char *place) {
    char word[64];
    snprintf(word, sizeof word, "hang=%s", place);
    if (told(word)) for (;;) pause();
    snprintf(word, sizeof word, "crash=%s", place);
    if (told(word)) raise(SIGKILL);
    snprintf(word, sizeof word, "wrong=%s", place);
    return told(word);
}

static int failure(const char *function) {
    char word[96];
    snprintf(word, sizeof word, "fail=%s:", function);
    const char *all = getenv("FAKE_CUDA"), *at = all ? strstr(all, word) : NULL;
    return at ? atoi(at + strlen(word)) : 0;
}
#define BEGIN do { int status = failure(__func__); if (status) return status; } while (0)

static int owner(uint64_t address) {
    for (int i = 0; i < piece_count; i++)
        if (address >= pieces[i].from && address < pieces[i].from + pieces[i].bytes) return pieces[i].device;
    return -1;
}

int cuGetErrorName(int status, const char **name) {
    *name = status == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : status == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR_OTHER";
    return 0;
}
int cuInit(unsigned flags) { BEGIN; (void)flags; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = number("gpus=", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetPCIBusId(char *text, int length, int device) {
    snprintf(text, length, "0000:%02X:00.0", 0x1a + device);
    return 0;
}
int cuDeviceGetByPCIBusId(int *device, const char *text) {
    unsigned bus;
    if (sscanf(text, "0000:%x:00.0", &bus) != 1 || bus < 0x1a || (int)bus - 0x1a >= number("gpus=", 1)) return 101;
    *device = (int)bus - 0x1a;
    return 0;
}
int cuDevicePrimaryCtxRetain(context_t **context, int device) {
    BEGIN;
    contexts[device].device = device;
    *context = &contexts[device];
    return 0;
}
int cuCtxSetCurrent(context_t *context) { current = context; return 0; }
int cuModuleLoadData(void **module, const char *text) {
    BEGIN;
    *module = (void *)1;
    return strstr(text, "llmhost_product") ? 0 : 218;
}
int cuModuleGetFunction(const char **function, void *module, const char *name) {
    (void)module;
    static const char *known[] = {"llmhost_fill", "llmhost_check", "llmhost_numbers", "llmhost_compare", "llmhost_product"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(known[i], name)) { *function = known[i]; return 0; }
    return 500;
}
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = (void *)2; return 0; }
int cuStreamSynchronize(void *stream) { BEGIN; (void)stream; return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    *total = 64u << 20;
    *free_bytes = (size_t)number("free=", 16) << 20;
    return 0;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    BEGIN;
    int most = number("chunks=", 4096);
    static int large;
    if (bytes == CHUNK_WORDS * 4u && ++large > most) return 2;
    *address = (uint64_t)(uintptr_t)aligned_alloc(256, (bytes + 255) / 256 * 256);
    pieces[piece_count++] = (piece_t){*address, bytes, current->device};
    return 0;
}
int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) { (void)flags; *address = malloc(bytes); return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) { memcpy(to, (void *)(uintptr_t)from, bytes); return 0; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { memcpy((void *)(uintptr_t)to, from, bytes); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    memcpy(to, (void *)(uintptr_t)from, bytes);
    if (fault("host")) ((unsigned char *)to)[bytes / 2] ^= 1;
    return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    return cuMemcpyHtoD_v2(to, from, bytes);
}
int cuDeviceCanAccessPeer(int *can, int device, int other) { *can = device != other && told("peer"); return 0; }
int cuCtxEnablePeerAccess(context_t *other, unsigned flags) {
    BEGIN;
    (void)flags;
    uint64_t bit = 1ull << other->device;
    if (current->reaches & bit) return 704;
    current->reaches |= bit;
    return 0;
}
int cuMemcpyPeerAsync(uint64_t to, context_t *there, uint64_t from, context_t *here, size_t bytes, void *stream) {
    BEGIN;
    (void)stream;
    int direct = here->reaches >> there->device & 1;
    if (owner(to) != there->device || owner(from) != here->device) return 1;
    memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
    if (fault(direct ? "copy" : "staged")) ((unsigned char *)(uintptr_t)to)[bytes - 1] ^= 0x80;
    return 0;
}

static uint32_t word(uint64_t place, uint32_t seed) {
    uint32_t x = (uint32_t)place * 0x9E3779B1u + seed;
    x ^= x >> 15;
    x *= 0x85EBCA6Bu;
    return x ^ x >> 13;
}
static void count(uint64_t *report, uint64_t place, uint32_t x, uint32_t y) {
    if (x == y) return;
    report[0]++;
    if (place < report[1]) report[1] = place;
    report[2] |= x ^ y;
}
#define U64(i) (*(uint64_t *)given[i])
#define U32(i) (*(uint32_t *)given[i])
#define AT(type, i) ((type *)(uintptr_t)U64(i))

static void fill(void **given) {
    int remote = owner(U64(0)) != current->device;
    for (uint64_t i = 0; i < U64(1); i++) AT(uint32_t, 0)[i] = word(i, U32(2)) ^ U32(3);
    if (remote && fault("write")) AT(uint32_t, 0)[7] ^= 4;
    if (!remote && U64(1) == CHUNK_WORDS && fault("memory")) AT(uint32_t, 0)[CHUNK_WORDS / 3] ^= 0x10;
}
static void check(void **given) {
    int lost = owner(U64(0)) != current->device && fault("read");
    if (fault("checker")) return;
    for (uint64_t i = 0; i < U64(1); i++) {
        uint32_t sum = 0;
        for (uint32_t rank = 0; rank < U32(4); rank++) sum += word(i, U32(2) + rank);
        count(AT(uint64_t, 5), i, sum ^ U32(3), AT(uint32_t, 0)[i] ^ (lost && i == 3));
    }
}
static void product(void **given) {
    uint32_t n = U32(3);
    float *a = AT(float, 0), *b = AT(float, 1), *c = AT(float, 2);
    static int times;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            float sum = 0;
            for (uint32_t k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    if (times++ && fault("product")) c[n] += 1;
}
int cuLaunchKernel(const char *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **given, void **extra) {
    BEGIN;
    (void)gz, (void)by, (void)bz, (void)shared, (void)stream, (void)extra;
    const char *name = function + strlen("llmhost_");
    if (bx != 256) return 1;
    if (!strcmp(name, "fill")) fill(given);
    else if (!strcmp(name, "check")) check(given);
    else if (!strcmp(name, "numbers"))
        for (uint64_t i = 0; i < U64(1); i++) AT(float, 0)[i] = (float)(word(i, U32(2)) & 7);
    else if (!strcmp(name, "compare"))
        for (uint64_t i = 0; i < U64(2); i++) count(AT(uint64_t, 3), i, AT(uint32_t, 0)[i], AT(uint32_t, 1)[i]);
    else if (gx * 128 != U32(3) || gy != gx) return 1;
    else product(given);
    return 0;
}
