/* Conversions between floating types: every 16-bit value both ways, and rounding against the definition. */
#include "support/support.h"
#include "tensor/tensor.h"

#include <math.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* What a 16-bit number with `exponent_bits` bits of exponent stands for, from the definition of IEEE 754. */
static double value_of(uint16_t bits, int exponent_bits)
{
    int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1), fraction = bits & ((1 << fraction_bits) - 1);
    double sign = bits & 0x8000 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static void each_value(int exponent_bits, float (*wide)(uint16_t), uint16_t (*narrow)(float))
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t bits = (uint16_t)i;
        double wanted = value_of(bits, exponent_bits);
        float got = wide(bits);
        if (isnan(wanted)) {
            assert_true(isnan(got));
            assert_true(isnan(wide(narrow(got))));
            assert_int_equal(narrow(got) & 0x8000, bits & 0x8000);
            continue;
        }
        if ((double)got != wanted || !signbit(got) != !signbit(wanted))
            fail_msg("%04x: gave %a, wanted %a", i, (double)got, wanted);
        if (narrow(got) != bits)
            fail_msg("%04x: came back as %04x", i, narrow(got));
    }
}

/* Between each two neighbours: the middle goes to the even one, a hair off the middle to the nearer one. fp32 and fp64
 * can name the middle and its neighbours exactly. */
static void each_gap(int exponent_bits, enum lm_dtype type, uint16_t (*narrow)(float))
{
    uint16_t largest = (uint16_t)(((1 << exponent_bits) - 1) << (15 - exponent_bits)); /* infinity */
    for (uint16_t bits = 0; bits < largest; bits++) {
        bool last = bits + 1 == largest;
        double low = value_of(bits, exponent_bits), high = value_of((uint16_t)(bits + 1), exponent_bits);
        if (last) /* infinity is rounded to as if the next number were still there */
            high = low + (low - value_of((uint16_t)(bits - 1), exponent_bits));
        double middle = (low + high) / 2;
        uint16_t even = bits & 1 ? (uint16_t)(bits + 1) : bits, got;
        assert_int_equal(narrow((float)middle), even);
        assert_int_equal(narrow((float)-middle), even | 0x8000);
        assert_int_equal(narrow(nextafterf((float)middle, 0)), bits);
        assert_int_equal(narrow(nextafterf((float)middle, INFINITY)), bits + 1);
        double doubles[3] = {middle, nextafter(middle, 0), nextafter(middle, INFINITY)};
        uint16_t wanted[3] = {even, bits, (uint16_t)(bits + 1)};
        for (int i = 0; i < 3; i++) { /* a double is rounded once, not by way of fp32 */
            assert_true(lm_convert(type, &got, LM_F64, &doubles[i], 1));
            if (got != wanted[i])
                fail_msg("%a: gave %04x, wanted %04x", doubles[i], got, wanted[i]);
            doubles[i] = -doubles[i];
            assert_true(lm_convert(type, &got, LM_F64, &doubles[i], 1));
            assert_int_equal(got, wanted[i] | 0x8000);
        }
    }
}

static void bf16_values(void **state)
{
    (void)state;
    each_value(8, lm_bf16_to_f32, lm_f32_to_bf16);
    each_gap(8, LM_BF16, lm_f32_to_bf16);
}

static void f16_values(void **state)
{
    (void)state;
    each_value(5, lm_f16_to_f32, lm_f32_to_f16);
    each_gap(5, LM_F16, lm_f32_to_f16);
}

static void extremes(void **state)
{
    (void)state;
    static const double doubles[] = {0.0, -0.0, INFINITY, -INFINITY, 1e300, -1e300, 1e-300, -1e-300, 5e-324};
    static const uint16_t f16[] = {0, 0x8000, 0x7c00, 0xfc00, 0x7c00, 0xfc00, 0, 0x8000, 0};
    static const uint16_t bf16[] = {0, 0x8000, 0x7f80, 0xff80, 0x7f80, 0xff80, 0, 0x8000, 0};
    uint16_t got[9];
    assert_true(lm_convert(LM_F16, got, LM_F64, doubles, 9));
    assert_memory_equal(got, f16, sizeof got);
    assert_true(lm_convert(LM_BF16, got, LM_F64, doubles, 9));
    assert_memory_equal(got, bf16, sizeof got);
    /* A NaN whose payload lies in the bits that are cut off stays one. */
    uint32_t payload = 0x7f800001;
    float nan_value;
    memcpy(&nan_value, &payload, 4);
    assert_true(isnan(lm_bf16_to_f32(lm_f32_to_bf16(nan_value))));
    assert_true(isnan(lm_f16_to_f32(lm_f32_to_f16(nan_value))));
    double wide_nan = NAN;
    assert_true(lm_convert(LM_F16, got, LM_F64, &wide_nan, 1) && isnan(lm_f16_to_f32(got[0])));
}

/* Every pair of types, unaligned, against the single-number functions. */
static void arrays(void **state)
{
    (void)state;
    enum { COUNT = 1003 };
    static const enum lm_dtype types[] = {LM_F32, LM_BF16, LM_F16, LM_F64};
    static unsigned char in[8 * COUNT + 1], out[8 * COUNT + 1], back[8 * COUNT + 1];
    struct lm_random random = lm_random_seed(7, 0);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++) {
            int from_bytes = lm_dtype_bits(types[from]) / 8, to_bytes = lm_dtype_bits(types[to]) / 8;
            for (int i = 0; i < COUNT; i++) {
                double value = lm_random_normal(&random) * exp2((double)lm_random_below(&random, 30) - 20);
                assert_true(lm_convert(types[from], in + 1 + i * from_bytes, LM_F64, &value, 1));
            }
            assert_true(lm_convert(types[to], out + 1, types[from], in + 1, COUNT));
            for (int i = 0; i < COUNT; i++) {
                assert_true(lm_convert(types[to], back, types[from], in + 1 + i * from_bytes, 1));
                assert_memory_equal(back, out + 1 + i * to_bytes, to_bytes);
            }
            if (to_bytes < from_bytes || (types[from] == LM_BF16 && types[to] == LM_F16) ||
                (types[from] == LM_F16 && types[to] == LM_BF16))
                continue;
            assert_true(lm_convert(types[from], back + 1, types[to], out + 1, COUNT)); /* widening loses nothing */
            assert_memory_equal(back + 1, in + 1, (size_t)COUNT * from_bytes);
        }
    float one = 1;
    assert_false(lm_convert(LM_I32, out, LM_F32, &one, 1));
    assert_false(lm_convert(LM_F32, out, LM_F8_E4M3, in, 1));
    assert_true(lm_convert(LM_F32, NULL, LM_F32, NULL, 0));
    assert_int_equal(bits_of(one), 0x3f800000);
}

static void names_and_sizes(void **state)
{
    (void)state;
    enum lm_dtype dtype;
    uint64_t bytes;
    for (int i = 0; i < LM_DTYPE_COUNT; i++) {
        assert_true(lm_dtype_parse(lm_dtype_name((enum lm_dtype)i), &dtype));
        assert_int_equal(dtype, i);
    }
    assert_true(lm_dtype_parse("bfloat16", &dtype) && dtype == LM_BF16);
    assert_true(lm_dtype_parse("float16", &dtype) && dtype == LM_F16);
    assert_true(lm_dtype_parse("float32", &dtype) && dtype == LM_F32);
    assert_false(lm_dtype_parse("bf16", &dtype));
    assert_false(lm_dtype_parse("", &dtype));
    assert_string_equal(lm_dtype_name(LM_DTYPE_COUNT), "unknown");
    assert_int_equal(lm_dtype_bits(LM_BOOL), 8);
    assert_int_equal(lm_dtype_bits(LM_F4), 4);
    assert_true(lm_dtype_bytes(LM_F4, 6, &bytes) && bytes == 3);
    assert_false(lm_dtype_bytes(LM_F4, 3, &bytes));
    assert_true(lm_dtype_bytes(LM_F6_E2M3, 4, &bytes) && bytes == 3);
    assert_false(lm_dtype_bytes(LM_U64, UINT64_MAX / 8, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_values), cmocka_unit_test(f16_values),      cmocka_unit_test(extremes),
        cmocka_unit_test(arrays),      cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
