/* Fused passes of the networks on a processor, between the matrix products.
 *
 * Compiled at run time by c_kernels.py, once for each type that tensors hold: `T`, which `GET` and
 * `PUT` turn into a float and back. All arithmetic is in float. Arrays are contiguous unless a
 * stride says otherwise. Loops are written so that compilers make vectors of them; subnormal
 * numbers, which a processor takes 40 times as long for, are kept out.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t I;

#ifdef BFLOAT

typedef uint16_t T;

static inline float GET(T half) {
    union { uint32_t bits; float value; } wide = {(uint32_t)half << 16};
    return wide.value;
}

static inline T PUT(float value) {
    union { float value; uint32_t bits; } wide = {value};
    return (T)((wide.bits + 0x7fff + ((wide.bits >> 16) & 1)) >> 16);
}

#else

typedef float T;
#define GET(x) (x)
#define PUT(x) (x)

#endif

/* 2^x for x from -126 to 127. */
static inline float power_of_two(float x) {
    const float whole = __builtin_rintf(x), rest = x - whole;
    float series = 1.339887440e-3f + 1.535336188e-4f * rest;
    series = 9.618437357e-3f + series * rest;
    series = 5.550332471e-2f + series * rest;
    series = 2.402264791e-1f + series * rest;
    series = 6.931472028e-1f + series * rest;
    union { float value; int32_t bits; } power = {1.0f + series * rest};
    power.bits += (int32_t)whole * (1 << 23);
    return power.value;
}

/* exp(x); 0 below -64, where nothing is left of what a float is added to. */
static inline float exponential(float x) {
    const float kept = x < -64.0f ? -64.0f : x;
    union { float value; int32_t bits; } power = {
        power_of_two((kept > 88.0f ? 88.0f : kept) * 1.44269504f)};
    power.bits &= -(x >= -64.0f);
    return power.value;
}

/* x times the share of a normal distribution below x, and its derivative; the share by formula
 * 26.2.17 of Abramowitz and Stegun, to 8e-8. */
static inline float gelu_of(float x, float *restrict slope) {
    const float t = 1.0f / (1.0f + 0.2316419f * (x < 0 ? -x : x)), square = -0.72134752f * x * x;
    const float density = 0.39894228f * power_of_two(square < -100.0f ? -100.0f : square);
    float series = -1.821255978f + 1.330274429f * t;
    series = 1.781477937f + series * t;
    series = -0.356563782f + series * t;
    series = 0.319381530f + series * t;
    const float tail = density * series * t, below = x < 0 ? tail : 1.0f - tail;
    *slope = below + x * density;
    return x * below;
}

#define LESSER(a, b) ((a) < (b) ? (a) : (b))

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

/* log(1 + exp(x)), by the series of 2 artanh(t / (2 + t)) = log(1 + t) for t = exp(-|x|). */
static inline float softplus(float x) {
    const float t = exponential(x < 0 ? x : -x), s = t / (2.0f + t), square = s * s;
    float series = 1.0f / 13 + square * (1.0f / 15);
    series = 1.0f / 11 + square * series;
    series = 1.0f / 9 + square * series;
    series = 1.0f / 7 + square * series;
    series = 1.0f / 5 + square * series;
    series = 1.0f / 3 + square * series;
    return (x > 0 ? x : 0.0f) + 2 * s * (1.0f + square * series);
}

/* The chunked scan; see ssd_fused.py for the plan and ssd_chunk.py for the formulas.
 *
 * B sequences of L tokens are n = B c chunks of Q tokens, with K heads of P features and S states.
 * steps, sums and their gradients are (2, n, K, Q): forwards, then backwards.
 * values is (n, K, Q + 2 S, P): what tokens hold, then what enters from the left and the right. */

/* Sort x (B, L, K, P), dt (2, B, L, K), B (B, L, S) and, unless it is null, C into chunks; sum the
 * decays; weight B by what is left of each token at the end of its chunk: (n, K, Q, 2 S). */
void scan_prepare(
    const I *size, const T *restrict x, const I *x_stride, const float *restrict dt,
    const float *restrict rate, const T *restrict map_in, const I *in_stride,
    const T *restrict map_out, const I *out_stride, T *restrict values, float *restrict steps,
    float *restrict sums, T *restrict chunk_in, T *restrict chunk_out, T *restrict weighted) {
    const I B = size[0], L = size[1], c = size[2], Q = size[3], K = size[4], P = size[5];
    const I S = size[6], rows = size[7], n = B * c;
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < n; at++) {
        const I b = at / c, first = at % c * Q;
        const I had = L - first < Q ? L - first : Q;
        for (I q = 0; q < Q; q++) {
            T *to_in = chunk_in + (at * Q + q) * S;
            T *to_out = chunk_out + (at * Q + q) * S;
            if (q >= had) {
                memset(to_in, 0, S * sizeof(T));
                if (map_out) memset(to_out, 0, S * sizeof(T));
                continue;
            }
            memcpy(to_in, map_in + b * in_stride[0] + (first + q) * in_stride[1], S * sizeof(T));
            if (map_out)
                memcpy(to_out, map_out + b * out_stride[0] + (first + q) * out_stride[1],
                       S * sizeof(T));
        }
        for (I k = 0; k < K; k++) {
            const I block = at * K + k;
            float *step0 = steps + block * Q, *step1 = step0 + n * K * Q;
            float *sum0 = sums + block * Q, *sum1 = sum0 + n * K * Q;
            for (I q = 0; q < Q; q++) {
                T *row = values + (block * rows + q) * P;
                if (q < had) {
                    memcpy(row, x + b * x_stride[0] + (first + q) * x_stride[1] + k * P,
                           P * sizeof(T));
                    step0[q] = dt[(b * L + first + q) * K + k];
                    step1[q] = dt[((B + b) * L + first + q) * K + k];
                } else {
                    memset(row, 0, P * sizeof(T));
                    step0[q] = step1[q] = 0;
                }
            }
            double total = 0;
            for (I q = 0; q < Q; q++) sum0[q] = (float)(total += step0[q] * rate[k]);
            total = 0;
            for (I q = Q - 1; q >= 0; q--) sum1[q] = (float)(total += step1[q] * rate[K + k]);
            for (I q = 0; q < Q; q++) {
                const float into0 = exponential(sum0[Q - 1] - sum0[q]) * step0[q];
                const float into1 = exponential(sum1[0] - sum1[q]) * step1[q];
                const T *from = chunk_in + (at * Q + q) * S;
                T *to = weighted + (block * Q + q) * 2 * S;
                for (I s = 0; s < S; s++) {
                    to[s] = PUT(GET(from[s]) * into0);
                    to[S + s] = PUT(GET(from[s]) * into1);
                }
            }
        }
    }
}

/* Pass states (n, K, 2 S, P) on from chunk to chunk, from `initial` (2, B, K, S, P) or from zero,
 * and write into values what enters each chunk. */
void scan_pass(const I *size, const T *restrict states, const float *restrict sums,
                     const float *restrict initial, T *restrict values) {
    const I B = size[0], c = size[2], Q = size[3], K = size[4], P = size[5], S = size[6];
    const I rows = size[7], n = B * c, area = S * P;
#pragma omp parallel for num_threads((int)size[8])
    for (I task = 0; task < 2 * B * K; task++) {
        const I way = task / (B * K), b = task / K % B, k = task % K;
        float *restrict held = malloc(area * sizeof(float));
        if (initial) memcpy(held, initial + task * area, area * sizeof(float));
        else memset(held, 0, area * sizeof(float));
        for (I turn = 0; turn < c; turn++) {
            const I block = (b * c + (way ? c - 1 - turn : turn)) * K + k;
            const float decay =
                exponential(sums[(way * n * K + block) * Q + (way ? 0 : Q - 1)]);
            const T *restrict added = states + (block * 2 + way) * area;
            T *restrict entering = values + (block * rows + Q) * P + way * area;
            for (I i = 0; i < area; i++) {
                entering[i] = PUT(held[i]);
                held[i] = held[i] * decay + GET(added[i]);
            }
        }
        free(held);
    }
}

/* What a product with values is taken with, (., K, Q, Q + 2 S), for `count` chunks from `first`:
 * scores (., Q, Q) times decays and steps, then C as entering states are seen. */
void scan_weigh(const I *size, I first, I count, const T *restrict scores,
                      const float *restrict steps, const float *restrict sums,
                      const T *restrict chunk_out, T *restrict left) {
    const I n = size[0] * size[2], Q = size[3], K = size[4], S = size[6], W = Q + 2 * S;
    const int diagonal = (int)size[9], width = (int)Q;
    float *masks = malloc(3 * Q * sizeof(float)); /* ones, zeros, ones */
    for (I j = 0; j < 3 * Q; j++) masks[j] = j < Q || j >= 2 * Q ? 1.0f : 0.0f;
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < count; at++) {
        for (I k = 0; k < K; k++) {
            const I block = (first + at) * K + k;
            const float *restrict step0 = steps + block * Q, *restrict step1 = step0 + n * K * Q;
            const float *restrict sum0 = sums + block * Q, *restrict sum1 = sum0 + n * K * Q;
            for (int i = 0; i < width; i++) {
                const T *restrict score = scores + (at * Q + i) * Q;
                T *restrict to = left + ((at * K + k) * Q + i) * W;
                const float *restrict below = masks + Q - i, *restrict above = masks + 2 * Q - 1 - i;
                const float here0 = sum0[i], here1 = sum1[i];
                for (int j = 0; j < width; j++) {
                    const float ahead = here0 - sum0[j], back = here1 - sum1[j];
                    const float step = below[j] * step0[j] + above[j] * step1[j];
                    to[j] = PUT(GET(score[j]) * (exponential(LESSER(ahead, back)) * step));
                }
                to[i] = diagonal ? PUT(GET(score[i]) * (step0[i] + step1[i])) : PUT(0.0f);
                const T *restrict seen = chunk_out + ((first + at) * Q + i) * S;
                const float reach0 = exponential(here0), reach1 = exponential(here1);
                for (I s = 0; s < S; s++) {
                    to[Q + s] = PUT(GET(seen[s]) * reach0);
                    to[Q + S + s] = PUT(GET(seen[s]) * reach1);
                }
            }
        }
    }
    free(masks);
}

/* Copy from (B, L, K, P) to (n, K, Q, P), and back. */
void scan_sort(const I *size, const T *restrict x, const I *x_stride, T *restrict sorted) {
    const I L = size[1], c = size[2], Q = size[3], K = size[4], P = size[5];
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < size[0] * c; at++) {
        const I b = at / c, begin = at % c * Q;
        for (I k = 0; k < K; k++)
            for (I q = 0; q < Q; q++) {
                T *to = sorted + ((at * K + k) * Q + q) * P;
                if (begin + q < L)
                    memcpy(to, x + b * x_stride[0] + (begin + q) * x_stride[1] + k * P,
                           P * sizeof(T));
                else
                    memset(to, 0, P * sizeof(T));
            }
    }
}

void scan_restore(const I *size, const T *restrict sorted, T *restrict x) {
    const I L = size[1], c = size[2], Q = size[3], K = size[4], P = size[5];
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < size[0] * c; at++) {
        const I b = at / c, begin = at % c * Q;
        for (I q = 0; q < Q && begin + q < L; q++)
            for (I k = 0; k < K; k++)
                memcpy(x + ((b * L + begin + q) * K + k) * P, sorted + ((at * K + k) * Q + q) * P,
                       P * sizeof(T));
    }
}

/* The gradient of scan_weigh's result taken apart; the result itself is made again. d_scores is
 * summed over the heads, as is d_out (n, Q, S), what C gets from the states that enter. */
void scan_unweigh(const I *size, I first, I count, const T *restrict d_left,
                        const T *restrict scores, const float *restrict steps,
                        const float *restrict sums, const T *restrict chunk_out, T *restrict left,
                        T *restrict d_scores, float *restrict d_steps, float *restrict d_sums,
                        float *restrict d_out) {
    const I n = size[0] * size[2], Q = size[3], K = size[4], S = size[6], W = Q + 2 * S;
    const int diagonal = (int)size[9], width = (int)Q;
    float *masks = malloc(3 * Q * sizeof(float)); /* ones, zeros, ones */
    for (I j = 0; j < 3 * Q; j++) masks[j] = j < Q || j >= 2 * Q ? 1.0f : 0.0f;
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < count; at++) {
        float *restrict total = calloc(Q * Q + 2 * Q, sizeof(float));
        float *restrict from0 = total + Q * Q, *restrict from1 = from0 + Q;
        float *restrict d_map = d_out + (first + at) * Q * S;
        memset(d_map, 0, Q * S * sizeof(float));
        for (I k = 0; k < K; k++) {
            const I block = (first + at) * K + k;
            const float *restrict step0 = steps + block * Q, *restrict step1 = step0 + n * K * Q;
            const float *restrict sum0 = sums + block * Q, *restrict sum1 = sum0 + n * K * Q;
            float *restrict d_step0 = d_steps + block * Q, *restrict d_step1 = d_step0 + n * K * Q;
            float *restrict d_sum0 = d_sums + block * Q, *restrict d_sum1 = d_sum0 + n * K * Q;
            memset(from0, 0, 2 * Q * sizeof(float));
            for (int i = 0; i < width; i++) {
                const T *restrict score = scores + (at * Q + i) * Q;
                const T *restrict d_row = d_left + ((at * K + k) * Q + i) * W;
                T *restrict to = left + ((at * K + k) * Q + i) * W;
                float *restrict sum = total + i * Q;
                const float *restrict below = masks + Q - i, *restrict above = masks + 2 * Q - 1 - i;
                const float here0 = sum0[i], here1 = sum1[i];
                float to0 = 0, to1 = 0;
#pragma omp simd reduction(+ : to0, to1)
                for (int j = 0; j < width; j++) {
                    const float ahead = here0 - sum0[j], back = here1 - sum1[j];
                    const float step = below[j] * step0[j] + above[j] * step1[j];
                    const float decay = exponential(LESSER(ahead, back));
                    const float given = GET(d_row[j]), its = GET(score[j]);
                    to[j] = PUT(its * (decay * step));
                    sum[j] += given * (decay * step);
                    const float part = given * its * decay;
                    const float lower = below[j] * part, upper = above[j] * part;
                    from0[j] += lower;
                    from1[j] += upper;
                    to0 += lower * step;
                    to1 += upper * step;
                }
                const float given = GET(d_row[i]), its = GET(score[i]);
                float own = 0;
                if (diagonal) {
                    own = given * its;
                    to[i] = PUT(its * (step0[i] + step1[i]));
                    sum[i] += given * (step0[i] + step1[i]);
                }
                const T *restrict seen = chunk_out + ((first + at) * Q + i) * S;
                const float reach0 = exponential(here0), reach1 = exponential(here1);
                float seen0 = 0, seen1 = 0;
                for (I s = 0; s < S; s++) {
                    const float map = GET(seen[s]);
                    const float given0 = GET(d_row[Q + s]), given1 = GET(d_row[Q + S + s]);
                    to[Q + s] = PUT(map * reach0);
                    to[Q + S + s] = PUT(map * reach1);
                    seen0 += given0 * map;
                    seen1 += given1 * map;
                    d_map[i * S + s] += given0 * reach0 + given1 * reach1;
                }
                d_sum0[i] = to0 + seen0 * reach0;
                d_sum1[i] = to1 + seen1 * reach1;
                d_step0[i] = d_step1[i] = own;
            }
            for (I j = 0; j < Q; j++) {
                d_step0[j] += from0[j];
                d_step1[j] += from1[j];
                d_sum0[j] -= from0[j] * step0[j];
                d_sum1[j] -= from1[j] * step1[j];
            }
        }
        for (I i = 0; i < Q * Q; i++) d_scores[at * Q * Q + i] = PUT(total[i]);
        free(total);
    }
    free(masks);
}

/* The gradient of scan_pass: d_states (n, K, 2 S, P), d_initial (2, B, K, S, P) unless it is null,
 * and what the sums at the ends of chunks get. */
void scan_pass_back(const I *size, const T *restrict d_values, const T *restrict values,
                          const float *restrict sums, float *restrict d_sums, T *restrict d_states,
                          float *restrict d_initial) {
    const I B = size[0], c = size[2], Q = size[3], K = size[4], P = size[5], S = size[6];
    const I rows = size[7], n = B * c, area = S * P;
#pragma omp parallel for num_threads((int)size[8])
    for (I task = 0; task < 2 * B * K; task++) {
        const I way = task / (B * K), b = task / K % B, k = task % K;
        float *restrict later = calloc(area, sizeof(float));
        for (I turn = c - 1; turn >= 0; turn--) {
            const I block = (b * c + (way ? c - 1 - turn : turn)) * K + k;
            const I end = (way * n * K + block) * Q + (way ? 0 : Q - 1);
            const I place = (block * rows + Q) * P + way * area;
            const float decay = exponential(sums[end]);
            const T *restrict entering = values + place, *restrict given = d_values + place;
            T *restrict to = d_states + (block * 2 + way) * area;
            float along = 0;
            for (I i = 0; i < area; i++) {
                to[i] = PUT(later[i]);
                along += later[i] * GET(entering[i]);
                later[i] = GET(given[i]) + decay * later[i];
            }
            d_sums[end] += along * decay;
        }
        if (d_initial) memcpy(d_initial + task * area, later, area * sizeof(float));
        free(later);
    }
}

/* The gradient of scan_prepare. d_inside (n, K, rows, P) is that of values, and may be null;
 * d_outside (n, K, Q, P) and d_weighted (n, K, Q, 2 S) come through the states; d_in, d_seen and
 * d_out (n, Q, S) from the scores, where there are any. d_rates is (n, 2, K), to be summed. */
void scan_prepare_back(
    const I *size, const float *restrict rate, const T *restrict chunk_in,
    const float *restrict steps, const float *restrict sums, const T *restrict d_inside,
    const T *restrict d_outside, const T *restrict d_weighted, const T *restrict d_in,
    const T *restrict d_seen, const float *restrict d_out, float *restrict d_steps,
    float *restrict d_sums, T *restrict d_x, float *restrict d_dt, T *restrict d_map_in,
    T *restrict d_map_out, float *restrict d_rates) {
    const I B = size[0], L = size[1], c = size[2], Q = size[3], K = size[4], P = size[5];
    const I S = size[6], rows = size[7], n = B * c;
#pragma omp parallel for num_threads((int)size[8])
    for (I at = 0; at < n; at++) {
        const I b = at / c, first = at % c * Q;
        const I had = L - first < Q ? L - first : Q;
        float *restrict d_map = calloc(Q * S, sizeof(float));
        for (I k = 0; k < K; k++) {
            const I block = at * K + k, other = n * K * Q;
            const float *step0 = steps + block * Q, *step1 = step0 + other;
            const float *sum0 = sums + block * Q, *sum1 = sum0 + other;
            float *d_step0 = d_steps + block * Q, *d_step1 = d_step0 + other;
            float *d_sum0 = d_sums + block * Q, *d_sum1 = d_sum0 + other;
            double end0 = 0, end1 = 0;
            for (I q = 0; q < Q; q++) {
                const float left0 = exponential(sum0[Q - 1] - sum0[q]);
                const float left1 = exponential(sum1[0] - sum1[q]);
                const float into0 = left0 * step0[q], into1 = left1 * step1[q];
                const T *restrict map = chunk_in + (at * Q + q) * S;
                const T *restrict given = d_weighted + (block * Q + q) * 2 * S;
                float *restrict to = d_map + q * S;
                float along0 = 0, along1 = 0;
                for (I s = 0; s < S; s++) {
                    const float given0 = GET(given[s]), given1 = GET(given[S + s]);
                    along0 += given0 * GET(map[s]);
                    along1 += given1 * GET(map[s]);
                    to[s] += given0 * into0 + given1 * into1;
                }
                d_step0[q] += along0 * left0;
                d_step1[q] += along1 * left1;
                d_sum0[q] -= along0 * into0;
                d_sum1[q] -= along1 * into1;
                end0 += along0 * into0;
                end1 += along1 * into1;
            }
            d_sum0[Q - 1] += (float)end0;
            d_sum1[0] += (float)end1;
            double total = 0, along = 0;
            for (I q = Q - 1; q >= 0; q--) {
                total += d_sum0[q];
                along += total * step0[q];
                d_step0[q] += (float)total * rate[k];
            }
            d_rates[(at * 2) * K + k] = (float)along;
            total = along = 0;
            for (I q = 0; q < Q; q++) {
                total += d_sum1[q];
                along += total * step1[q];
                d_step1[q] += (float)total * rate[K + k];
            }
            d_rates[(at * 2 + 1) * K + k] = (float)along;
            for (I q = 0; q < had; q++) {
                d_dt[(b * L + first + q) * K + k] = d_step0[q];
                d_dt[((B + b) * L + first + q) * K + k] = d_step1[q];
                const T *restrict outside = d_outside + (block * Q + q) * P;
                T *restrict to = d_x + ((b * L + first + q) * K + k) * P;
                if (d_inside) {
                    const T *restrict inside = d_inside + (block * rows + q) * P;
                    for (I p = 0; p < P; p++) to[p] = PUT(GET(inside[p]) + GET(outside[p]));
                } else
                    memcpy(to, outside, P * sizeof(T));
            }
        }
        const I place = at * Q * S, target = (b * L + first) * S;
        for (I i = 0; i < had * S; i++)
            d_map_in[target + i] = PUT(d_map[i] + (d_in ? GET(d_in[place + i]) : 0.0f));
        if (d_map_out)
            for (I i = 0; i < had * S; i++)
                d_map_out[target + i] = PUT(d_out[place + i] + GET(d_seen[place + i]));
        free(d_map);
    }
}

/* What is before the scan: a depthwise convolution of `width` taps over (B, L, c) and silu, whose
 * channels go to x, B and C; and softplus of the raw steps plus a bias, (B, L, 2 K) to
 * (2, B, L, K). size is B, L, the channels of x and of B, taps, K and threads. */
static void taps_first(I channels, I taps, const T *restrict weight, float *restrict sorted) {
    for (I tap = 0; tap < taps; tap++)
        for (I c = 0; c < channels; c++) sorted[tap * channels + c] = GET(weight[c * taps + tap]);
}

static void convolve_row(I channels, I taps, I l, I L, const T *restrict raw, I stride,
                               const float *restrict weight, const T *restrict bias,
                               float *restrict sum) {
    for (I c = 0; c < channels; c++) sum[c] = GET(bias[c]);
    for (I tap = 0; tap < taps; tap++) {
        const I from = l + tap - taps / 2;
        if (from < 0 || from >= L) continue;
        const T *restrict row = raw + from * stride;
        const float *restrict by = weight + tap * channels;
        for (I c = 0; c < channels; c++) sum[c] += GET(row[c]) * by[c];
    }
}

void convolve(const I *size, const T *restrict raw, const I *raw_stride,
                    const T *restrict weight, const T *restrict bias,
                    const T *restrict raw_steps, const I *step_stride,
                    const float *restrict step_bias, T *restrict x, T *restrict map_in,
                    T *restrict map_out, float *restrict dt) {
    const I B = size[0], L = size[1], inner = size[2], S = size[3], taps = size[4], K = size[5];
    const I channels = inner + 2 * S;
    float *by = malloc(taps * channels * sizeof(float));
    taps_first(channels, taps, weight, by);
#pragma omp parallel for num_threads((int)size[6])
    for (I block = 0; block < (B * L + 63) / 64; block++) {
        float *restrict sum = malloc(channels * sizeof(float));
        for (I row = block * 64; row < B * L && row < block * 64 + 64; row++) {
            const I b = row / L, l = row % L;
            convolve_row(channels, taps, l, L, raw + b * raw_stride[0], raw_stride[1], by,
                               bias, sum);
            for (I c = 0; c < channels; c++) sum[c] *= sigmoid(sum[c]);
            for (I c = 0; c < inner; c++) x[row * inner + c] = PUT(sum[c]);
            for (I c = 0; c < S; c++) map_in[row * S + c] = PUT(sum[inner + c]);
            for (I c = 0; c < S; c++) map_out[row * S + c] = PUT(sum[inner + S + c]);
        }
        free(sum);
    }
    const I waiting = 64 * 2 * K; /* 64 rows at once, for there are few steps in one */
#pragma omp parallel for num_threads((int)size[6])
    for (I block = 0; block < (B * L + 63) / 64; block++) {
        float *restrict held = calloc(waiting, sizeof(float));
        const I first = block * 64, count = B * L - first < 64 ? B * L - first : 64;
        for (I i = 0; i < count * 2 * K; i++) {
            const I row = first + i / (2 * K), k = i % (2 * K);
            held[i] = step_bias[k] +
                      GET(raw_steps[row / L * step_stride[0] + row % L * step_stride[1] + k]);
        }
        for (I i = 0; i < waiting; i++) held[i] = softplus(held[i]);
        for (I i = 0; i < count; i++)
            for (I k = 0; k < 2 * K; k++)
                dt[(k / K * B * L + first + i) * K + k % K] = held[i * 2 * K + k];
        free(held);
    }
    free(by);
}

/* The gradient of convolve, sequence by sequence: d_weight (B, taps + 1, c), of which the last row
 * is the bias's, and d_step_bias (B, 2 K) are to be summed. d_raw and d_raw_steps are dense. */
void convolve_back(const I *size, const T *restrict raw, const I *raw_stride,
                         const T *restrict weight, const T *restrict bias,
                         const T *restrict raw_steps, const I *step_stride,
                         const float *restrict step_bias, const T *restrict d_x,
                         const T *restrict d_map_in, const T *restrict d_map_out,
                         const float *restrict d_dt, T *restrict d_raw, float *restrict d_weight,
                         T *restrict d_raw_steps, float *restrict d_step_bias) {
    const I B = size[0], L = size[1], inner = size[2], S = size[3], taps = size[4], K = size[5];
    const I channels = inner + 2 * S, half = taps / 2;
    float *by = malloc(taps * channels * sizeof(float));
    taps_first(channels, taps, weight, by);
#pragma omp parallel for num_threads((int)size[6])
    for (I b = 0; b < B; b++) {
        const T *its = raw + b * raw_stride[0];
        float *restrict sum = malloc(channels * sizeof(float));
        float *ring = malloc(taps * channels * sizeof(float)); /* the last rows' gradients */
        float *d_by = d_weight + b * (taps + 1) * channels;
        float *restrict d_shift = d_by + taps * channels, *d_late = d_step_bias + b * 2 * K;
        memset(d_by, 0, (taps + 1) * channels * sizeof(float));
        memset(d_late, 0, 2 * K * sizeof(float));
        for (I l = 0; l < L + half; l++) {
            float *restrict now = ring + l % taps * channels;
            if (l < L) {
                const I row = b * L + l;
                convolve_row(channels, taps, l, L, its, raw_stride[1], by, bias, sum);
                for (I c = 0; c < inner; c++) now[c] = GET(d_x[row * inner + c]);
                for (I c = 0; c < S; c++) now[inner + c] = GET(d_map_in[row * S + c]);
                for (I c = 0; c < S; c++) now[inner + S + c] = GET(d_map_out[row * S + c]);
                for (I c = 0; c < channels; c++) {
                    const float open = sigmoid(sum[c]);
                    now[c] *= open * (1.0f + sum[c] * (1.0f - open));
                    d_shift[c] += now[c];
                }
                for (I tap = 0; tap < taps; tap++) {
                    const I from = l + tap - half;
                    if (from < 0 || from >= L) continue;
                    const T *restrict given = its + from * raw_stride[1];
                    float *restrict to = d_by + tap * channels;
                    for (I c = 0; c < channels; c++) to[c] += now[c] * GET(given[c]);
                }
            }
            const I done = l - half;
            if (done < 0) continue;
            memset(sum, 0, channels * sizeof(float));
            for (I tap = 0; tap < taps; tap++) {
                const I from = done - tap + half;
                if (from < 0 || from >= L) continue;
                const float *restrict given = ring + from % taps * channels;
                const float *restrict weighted = by + tap * channels;
                for (I c = 0; c < channels; c++) sum[c] += given[c] * weighted[c];
            }
            for (I c = 0; c < channels; c++) d_raw[(b * L + done) * channels + c] = PUT(sum[c]);
        }
        float *restrict held = calloc(64 * 2 * K, sizeof(float));
        for (I first = 0; first < L; first += 64) {
            const I count = L - first < 64 ? L - first : 64;
            for (I i = 0; i < count; i++)
                for (I k = 0; k < 2 * K; k++)
                    held[i * 2 * K + k] = step_bias[k] + GET(raw_steps[b * step_stride[0] +
                                                         (first + i) * step_stride[1] + k]);
            for (I i = 0; i < 64 * 2 * K; i++) held[i] = sigmoid(held[i]);
            for (I i = 0; i < count; i++)
                for (I k = 0; k < 2 * K; k++) {
                    const I row = b * L + first + i;
                    const float given = d_dt[(k / K * B * L + row) * K + k % K];
                    const float late = given * held[i * 2 * K + k];
                    d_late[k] += late;
                    d_raw_steps[row * 2 * K + k] = PUT(late);
                }
        }
        free(held);
        free(ring);
        free(sum);
    }
    free(by);
}

/* What is after the scan: RMS norm of (y + D x) silu(gate), times a weight. size is the rows, their
 * width, P and threads; y is dense, x and gate have a stride between rows. */
void gated_norm(const I *size, const T *restrict y, const T *restrict x, I x_stride,
                      const T *restrict skip, const T *restrict gate, I gate_stride,
                      const T *restrict weight, T *restrict out) {
    const I rows = size[0], N = size[1], P = size[2];
#pragma omp parallel for num_threads((int)size[3])
    for (I block = 0; block < (rows + 63) / 64; block++) {
        float *restrict held = malloc(2 * N * sizeof(float)), *restrict its = held + N;
        for (I i = 0; i < N; i++) its[i] = GET(skip[i / P]);
        for (I row = block * 64; row < rows && row < block * 64 + 64; row++) {
            const T *restrict read = y + row * N, *restrict direct = x + row * x_stride;
            const T *restrict door = gate + row * gate_stride;
            float square = 0;
            for (I i = 0; i < N; i++) {
                const float opening = GET(door[i]);
                held[i] = (GET(read[i]) + its[i] * GET(direct[i])) * opening * sigmoid(opening);
                square += held[i] * held[i];
            }
            const float scale = 1.0f / sqrtf(square / N + 1e-5f);
            for (I i = 0; i < N; i++) out[row * N + i] = PUT(held[i] * scale * GET(weight[i]));
        }
        free(held);
    }
}

/* The gradient of gated_norm: of the weight and of each channel's D for `parts` blocks of rows,
 * (parts, 2, N), to be summed; the others are dense. */
void gated_norm_back(const I *size, const T *restrict gradient, const T *restrict y,
                           const T *restrict x, I x_stride, const T *restrict skip,
                           const T *restrict gate, I gate_stride, const T *restrict weight,
                           I parts, T *restrict d_y, T *restrict d_x, T *restrict d_gate,
                           float *restrict d_by_channel) {
    const I rows = size[0], N = size[1], P = size[2];
#pragma omp parallel for num_threads((int)size[3])
    for (I part = 0; part < parts; part++) {
        float *restrict held = malloc(4 * N * sizeof(float)), *restrict its = held + N;
        float *restrict read_in = its + N, *restrict by = read_in + N;
        float *restrict d_weight = d_by_channel + part * 2 * N, *restrict d_skip = d_weight + N;
        for (I i = 0; i < N; i++) {
            its[i] = GET(skip[i / P]);
            by[i] = GET(weight[i]);
            d_weight[i] = d_skip[i] = 0;
        }
        for (I row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
            const T *restrict read = y + row * N, *restrict direct = x + row * x_stride;
            const T *restrict door = gate + row * gate_stride, *restrict given = gradient + row * N;
            float square = 0, along = 0;
            for (I i = 0; i < N; i++) {
                const float opening = GET(door[i]);
                read_in[i] = GET(read[i]) + its[i] * GET(direct[i]);
                held[i] = read_in[i] * opening * sigmoid(opening);
                square += held[i] * held[i];
                along += GET(given[i]) * by[i] * held[i];
            }
            const float scale = 1.0f / sqrtf(square / N + 1e-5f);
            along *= scale * scale / N;
#pragma omp simd
            for (I i = 0; i < N; i++) {
                const float opening = GET(door[i]), open = sigmoid(opening);
                const float d_held = (GET(given[i]) * by[i] - held[i] * along) * scale;
                const float d_read = d_held * opening * open;
                d_weight[i] += GET(given[i]) * held[i] * scale;
                d_skip[i] += d_read * GET(direct[i]);
                d_y[row * N + i] = PUT(d_read);
                d_x[row * N + i] = PUT(d_read * its[i]);
                d_gate[row * N + i] =
                    PUT(d_held * read_in[i] * open * (1.0f + opening * (1.0f - open)));
            }
        }
        free(held);
    }
}

/* Layer norm of one head without a bias, and its gradient. Where P is a constant, the compiler
 * keeps all of a head in registers. */
static inline __attribute__((always_inline)) void norm_head(
    int P, const T *restrict from, const T *restrict weight, T *restrict to) {
    float mean = 0, square = 0;
    for (int p = 0; p < P; p++) mean += GET(from[p]);
    mean /= P;
    for (int p = 0; p < P; p++) square += (GET(from[p]) - mean) * (GET(from[p]) - mean);
    const float scale = 1.0f / sqrtf(square / P + 1e-5f);
    for (int p = 0; p < P; p++) to[p] = PUT((GET(from[p]) - mean) * scale * GET(weight[p]));
}

static inline __attribute__((always_inline)) void norm_head_back(
    int P, const T *restrict given, const T *restrict from, const T *restrict weight,
    T *restrict to, float *restrict d_weight) {
    float mean = 0, square = 0, level = 0, along = 0;
    for (int p = 0; p < P; p++) mean += GET(from[p]);
    mean /= P;
    for (int p = 0; p < P; p++) {
        const float apart = GET(from[p]) - mean, its = GET(given[p]) * GET(weight[p]);
        square += apart * apart;
        level += its;
        along += its * apart;
    }
    const float scale = 1.0f / sqrtf(square / P + 1e-5f);
    level /= P;
    along *= scale * scale / P;
    for (int p = 0; p < P; p++) {
        const float apart = GET(from[p]) - mean, its = GET(given[p]) * GET(weight[p]);
        to[p] = PUT((its - level - apart * along) * scale);
        d_weight[p] += GET(given[p]) * apart * scale;
    }
}

/* Tokens (B, N, D) to the heads of attention, (B G, K, n, P): `where` (G, n) says which token of its
 * sequence stands at a place of a group, -1 for none, whose values are zero. Unless `weight` (P) is
 * null each head is layer-normed. size is B, N, G, n, K, P and threads. */
void heads_apart(const I *size, const T *restrict x, const I *x_stride,
                       const I *restrict where, const T *restrict weight, T *restrict heads) {
    const I B = size[0], G = size[2], n = size[3], K = size[4], P = size[5];
#pragma omp parallel for num_threads((int)size[6])
    for (I group = 0; group < B * G; group++) {
        const I b = group / G;
        for (I k = 0; k < K; k++)
            for (I place = 0; place < n; place++) {
                const I token = where[group % G * n + place];
                T *restrict to = heads + ((group * K + k) * n + place) * P;
                const T *restrict from = x + b * x_stride[0] + token * x_stride[1] + k * P;
                if (token < 0) {
                    memset(to, 0, P * sizeof(T));
                    continue;
                }
                if (!weight) {
                    memcpy(to, from, P * sizeof(T));
                    continue;
                }
                if (P == 64) norm_head(64, from, weight, to);
                else norm_head((int)P, from, weight, to);
            }
    }
}

/* The gradient of heads_apart; without `weight`, its inverse too. d_weight is (B G, P), to be
 * summed. */
void heads_together(const I *size, const T *restrict heads, const T *restrict x,
                          const I *x_stride, const I *restrict where, const T *restrict weight,
                          T *restrict tokens, const I *stride, float *restrict d_weight) {
    const I B = size[0], G = size[2], n = size[3], K = size[4], P = size[5];
#pragma omp parallel for num_threads((int)size[6])
    for (I group = 0; group < B * G; group++) {
        const I b = group / G;
        float *restrict d_by = d_weight + group * P;
        if (weight) memset(d_by, 0, P * sizeof(float));
        for (I k = 0; k < K; k++)
            for (I place = 0; place < n; place++) {
                const I token = where[group % G * n + place];
                if (token < 0) continue;
                const T *restrict given = heads + ((group * K + k) * n + place) * P;
                T *restrict to = tokens + b * stride[0] + token * stride[1] + k * P;
                if (!weight) {
                    memcpy(to, given, P * sizeof(T));
                    continue;
                }
                const T *restrict from = x + b * x_stride[0] + token * x_stride[1] + k * P;
                if (P == 64) norm_head_back(64, given, from, weight, to, d_by);
                else norm_head_back((int)P, given, from, weight, to, d_by);
            }
    }
}

/* Softmax over the last axis of `count` groups of scores (n, m), in place: of scores times `scale`
 * plus the bias (n or 1, m) of the group's kind, unless it is null. size is n, m, the rows of a
 * bias and threads. */
void softmax(const I *size, I count, double scale, const T *restrict biases,
                   const I *restrict kinds, T *restrict scores) {
    const I n = size[0], m = size[1], tall = size[2];
    const float by = (float)scale;
#pragma omp parallel for num_threads((int)size[3])
    for (I group = 0; group < count; group++) {
        const I whole = (m + 15) / 16 * 16; /* what is over has a chance of zero */
        float *restrict held = malloc(whole * sizeof(float));
        for (I i = m; i < whole; i++) held[i] = -INFINITY;
        for (I row = 0; row < n; row++) {
            T *restrict score = scores + (group * n + row) * m;
            float most = -INFINITY, sum = 0;
            if (biases) {
                const T *restrict bias = biases + (kinds[group] * tall + (tall > 1 ? row : 0)) * m;
                for (I i = 0; i < m; i++) held[i] = GET(score[i]) * by + GET(bias[i]);
            } else
                for (I i = 0; i < m; i++) held[i] = GET(score[i]) * by;
#pragma omp simd reduction(max : most)
            for (I i = 0; i < whole; i++) most = most > held[i] ? most : held[i];
            for (I i = 0; i < whole; i++) sum += held[i] = exponential(held[i] - most);
            sum = 1.0f / sum;
            for (I i = 0; i < m; i++) score[i] = PUT(held[i] * sum);
            for (I i = m; i < whole; i++) held[i] = -INFINITY;
        }
        free(held);
    }
}

/* The gradient of the scores before their scale, in place of that of the softmax's result. */
void softmax_back(const I *size, I count, double scale, const T *restrict chances,
                        T *restrict gradient) {
    const I m = size[1];
    const float by = (float)scale;
#pragma omp parallel for num_threads((int)size[3])
    for (I row = 0; row < count * size[0]; row++) {
        const T *restrict chance = chances + row * m;
        T *restrict given = gradient + row * m;
        float along = 0;
        for (I i = 0; i < m; i++) along += GET(chance[i]) * GET(given[i]);
        for (I i = 0; i < m; i++)
            given[i] = PUT((GET(given[i]) - along) * GET(chance[i]) * by);
    }
}

/* adaLN of x (B, T, n, D), to which a position (T, n, D) is added unless it is null: layer norm
 * without parameters, times 1 + scale, plus shift, which are (B, T, D) with one stride for both
 * axes. size is B, T, n, D and threads. */
void modulate(const I *size, const T *restrict x, const T *restrict position,
                    const T *restrict shift, I shift_stride, const T *restrict scale,
                    I scale_stride, T *restrict out) {
    const I frames = size[1], n = size[2], D = size[3];
#pragma omp parallel for num_threads((int)size[4])
    for (I frame = 0; frame < size[0] * frames; frame++) {
        const T *restrict by = scale + frame * scale_stride, *restrict to = shift + frame * shift_stride;
        float *restrict held = malloc(3 * D * sizeof(float));
        float *restrict stretch = held + D, *restrict offset = stretch + D;
        for (I i = 0; i < D; i++) stretch[i] = 1.0f + GET(by[i]), offset[i] = GET(to[i]);
        for (I row = frame * n; row < (frame + 1) * n; row++) {
            const T *restrict from = x + row * D;
            float mean = 0, square = 0;
            if (position) {
                const T *restrict place = position + (frame % frames * n + row - frame * n) * D;
                for (I i = 0; i < D; i++) mean += held[i] = GET(from[i]) + GET(place[i]);
            } else
                for (I i = 0; i < D; i++) mean += held[i] = GET(from[i]);
            mean /= D;
            for (I i = 0; i < D; i++) square += (held[i] - mean) * (held[i] - mean);
            const float unit = 1.0f / sqrtf(square / D + 1e-5f);
            for (I i = 0; i < D; i++)
                out[row * D + i] = PUT((held[i] - mean) * unit * stretch[i] + offset[i]);
        }
        free(held);
    }
}

/* The gradient of modulate; all of it is dense. d_position may be null. */
void modulate_back(const I *size, const T *restrict gradient, const T *restrict x,
                         const T *restrict position, const T *restrict scale, I scale_stride,
                         T *restrict d_x, T *restrict d_position, T *restrict d_shift,
                         T *restrict d_scale) {
    const I B = size[0], frames = size[1], n = size[2], D = size[3];
#pragma omp parallel for num_threads((int)size[4])
    for (I t = 0; t < frames; t++) {
        float *restrict held = malloc(4 * D * sizeof(float)), *restrict stretch = held + D;
        float *restrict along_scale = stretch + D, *restrict along_shift = along_scale + D;
        float *restrict total = position ? calloc(n * D, sizeof(float)) : NULL;
        for (I b = 0; b < B; b++) {
            const I frame = b * frames + t;
            for (I i = 0; i < D; i++) {
                stretch[i] = 1.0f + GET(scale[frame * scale_stride + i]);
                along_scale[i] = along_shift[i] = 0;
            }
            for (I place = 0; place < n; place++) {
                const I row = frame * n + place;
                const T *restrict from = x + row * D, *restrict given = gradient + row * D;
                T *restrict to = d_x + row * D;
                float mean = 0, square = 0, level = 0, along = 0;
                if (position) {
                    const T *restrict at = position + (t * n + place) * D;
                    for (I i = 0; i < D; i++) mean += held[i] = GET(from[i]) + GET(at[i]);
                } else
                    for (I i = 0; i < D; i++) mean += held[i] = GET(from[i]);
                mean /= D;
                for (I i = 0; i < D; i++) {
                    const float apart = held[i] - mean, its = GET(given[i]) * stretch[i];
                    square += apart * apart;
                    level += its;
                    along += its * apart;
                }
                const float unit = 1.0f / sqrtf(square / D + 1e-5f);
                level /= D;
                along *= unit * unit / D;
#pragma omp simd
                for (I i = 0; i < D; i++) {
                    const float apart = held[i] - mean, its = GET(given[i]);
                    held[i] = (its * stretch[i] - level - apart * along) * unit;
                    along_scale[i] += its * apart * unit;
                    along_shift[i] += its;
                }
                for (I i = 0; i < D; i++) to[i] = PUT(held[i]);
                if (total)
                    for (I i = 0; i < D; i++) total[place * D + i] += held[i];
            }
            for (I i = 0; i < D; i++) {
                d_shift[frame * D + i] = PUT(along_shift[i]);
                d_scale[frame * D + i] = PUT(along_scale[i]);
            }
        }
        if (total)
            for (I i = 0; i < n * D; i++) d_position[t * n * D + i] = PUT(total[i]);
        free(total);
        free(held);
    }
}

/* x + gate y for x and y (B, T, n, D) and a gate (B, T, D) with one stride for both axes, and the
 * gradients of y and of the gate, which is dense. size is B T, n, D and threads. */
void gated_sum(const I *size, const T *restrict x, const T *restrict gate, I stride,
                     const T *restrict y, T *restrict out) {
    const I n = size[1], D = size[2];
#pragma omp parallel for num_threads((int)size[3])
    for (I frame = 0; frame < size[0]; frame++) {
        const T *restrict by = gate + frame * stride;
        for (I row = frame * n; row < (frame + 1) * n; row++)
            for (I i = 0; i < D; i++)
                out[row * D + i] = PUT(GET(x[row * D + i]) + GET(by[i]) * GET(y[row * D + i]));
    }
}

void gated_sum_back(const I *size, const T *restrict gradient, const T *restrict gate,
                          I stride, const T *restrict y, T *restrict d_y, T *restrict d_gate) {
    const I n = size[1], D = size[2];
#pragma omp parallel for num_threads((int)size[3])
    for (I frame = 0; frame < size[0]; frame++) {
        const T *restrict by = gate + frame * stride;
        float *restrict total = calloc(D, sizeof(float));
        for (I row = frame * n; row < (frame + 1) * n; row++) {
            const T *restrict given = gradient + row * D, *restrict its = y + row * D;
            T *restrict to = d_y + row * D;
            for (I i = 0; i < D; i++) {
                total[i] += GET(given[i]) * GET(its[i]);
                to[i] = PUT(GET(given[i]) * GET(by[i]));
            }
        }
        for (I i = 0; i < D; i++) d_gate[frame * D + i] = PUT(total[i]);
        free(total);
    }
}

/* GELU of all numbers, and its derivative. */
void gelu(const I *size, const T *restrict x, T *restrict y, T *restrict slope) {
    const int block = 4096;
#pragma omp parallel for num_threads((int)size[1])
    for (I first = 0; first < size[0]; first += block) {
        const int count = (int)LESSER(size[0] - first, block);
        const T *restrict from = x + first;
        T *restrict to = y + first, *restrict to_slope = slope + first;
        for (int i = 0; i < count; i++) {
            float steep;
            to[i] = PUT(gelu_of(GET(from[i]), &steep));
            to_slope[i] = PUT(steep);
        }
    }
}
