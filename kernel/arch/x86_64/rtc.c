/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's clock device, read once at boot when nobody told us the time: MC146818, UTC. */

#include <arch/ops.h>
#include <x86.h>

#define RTC_INDEX 0x70
#define RTC_DATA  0x71

#define RTC_SECONDS  0x00
#define RTC_MINUTES  0x02
#define RTC_HOURS    0x04
#define RTC_DAY      0x07
#define RTC_MONTH    0x08
#define RTC_YEAR     0x09
#define RTC_STATUS_A 0x0a
#define RTC_STATUS_B 0x0b

#define STATUS_A_UPDATING 0x80
#define STATUS_B_BINARY   0x04
#define STATUS_B_24_HOURS 0x02

static uint8_t rtc_read(uint8_t reg)
{
    port_write8(RTC_INDEX, reg);
    return port_read8(RTC_DATA);
}

static unsigned field(uint8_t reg, bool is_binary)
{
    uint8_t v = rtc_read(reg);

    return is_binary ? v : (unsigned)(v & 15) + (unsigned)(v >> 4) * 10;
}

/* Days from 1970-01-01 to year-month-day of the Gregorian calendar, years counted from March. */
static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
    uint64_t y = year - (month <= 2 ? 1u : 0u);
    uint64_t m = month <= 2 ? month + 9 : month - 3;

    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

uint64_t arch_wall_clock_ns(void)
{
    uint8_t b = rtc_read(RTC_STATUS_B);
    bool is_binary = (b & STATUS_B_BINARY) != 0;

    if (b == 0xff || !(b & STATUS_B_24_HOURS)) {
        return 0; /* nobody answers, or a clock as no machine of ours has it */
    }
    for (unsigned n = 0; n < 10000 && rtc_read(RTC_STATUS_A) & STATUS_A_UPDATING; n++) {
    }
    unsigned second = field(RTC_SECONDS, is_binary);
    unsigned minute = field(RTC_MINUTES, is_binary);
    unsigned hour = field(RTC_HOURS, is_binary);
    unsigned day = field(RTC_DAY, is_binary);
    unsigned month = field(RTC_MONTH, is_binary);
    unsigned year = 2000 + field(RTC_YEAR, is_binary);

    if (second > 60 || minute > 59 || hour > 23 || day < 1 || day > 31 || month < 1 || month > 12) {
        return 0;
    }
    return ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 * NSEC_PER_SEC +
           second * NSEC_PER_SEC;
}
