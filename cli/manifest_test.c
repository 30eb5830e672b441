/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <string.h>

#include "manifest.h"

static void defaults(void **state)
{
    struct manifest m;
    char error[256];

    (void)state;
    assert_int_equal(manifest_parse("f", "", 0, "app", &m, error, sizeof(error)), 0);
    assert_string_equal(m.name, "app");
    assert_string_equal(m.entry, "src/main.py");
    assert_int_equal(m.language, LANGUAGE_PYTHON);
    assert_int_equal(m.packages.count, 1);
    assert_string_equal(m.packages.items[0], "python3");
    assert_int_equal(m.vcpus, 1);
    assert_int_equal(m.memory_mib, 256);
    assert_string_equal(m.net, "none");
    manifest_free(&m);
}

static void all_keys(void **state)
{
    static const char text[] =
        "[project]\nname = \"a-1\"\nlanguage = \"c\"\nentry = \"src/x.c\"\n"
        "[env]\nbase = \"python-3.11\"\npackages = [\"libstdc++6\", \"dash\"]\n"
        "[build]\nadapter = \"c\"\n"
        "[run]\nvcpu = 32\nmemory_mb = 4\ntimeout_s = 60\nnet = \"tap:eth0\"\nkernel_args = "
        "\"loglevel=7\"\n"
        "[caps]\nallow = [\"log\", \"net\"]\n"
        "[net]\nip = \"172.16.0.2\"\ngateway = \"172.16.0.1\"\nmask = \"255.255.255.0\"\n"
        "mac = \"06:00:AC:10:00:02\"\n"
        "[limits]\nheap_mb = 64\ntasks = 16\nhandles = 64\n";
    struct manifest m;
    char error[256];

    (void)state;
    assert_int_equal(manifest_parse("f", text, strlen(text), "X", &m, error, sizeof(error)), 0);
    assert_string_equal(m.name, "a-1");
    assert_int_equal(m.language, LANGUAGE_C);
    assert_int_equal(m.packages.count, 2);
    assert_int_equal(m.vcpus, 32);
    assert_int_equal(m.memory_mib, 4);
    assert_int_equal(m.timeout_s, 60);
    assert_string_equal(m.net, "tap:eth0");
    assert_true(m.has_caps);
    assert_int_equal(m.caps.count, 2);
    assert_int_equal(m.limit_handles, 64);
    manifest_free(&m);
}

static const struct {
    const char *text;
    const char *begins; /* of the error */
    const char *holds;
} bad[] = {
    { "[project]\nname = 1", "f:2:", "expected a string, not an integer" },
    { "[project]\nname = \"A\"", "f:2:", "a-z" },
    { "[project]\nname = \"-a\"", "f:2:", "not beginning" },
    { "[project]\nnam = \"a\"", "f:2:", "did you mean \"name\"" },
    { "[projet]\nname = \"a\"", "f:1:", "did you mean \"project\"" },
    { "\n\n[run]\nmemory = 5", "f:4:", "unknown key \"run.memory\"" },
    { "[run]\nzzz = 5", "f:2:", "ukernel.toml(5)" },
    { "x = 1", "f:1:", "unknown key \"x\"" },
    { "run = 1", "f:1:", "must be a table" },
    { "[[run]]", "f:1:", "must be a table" },
    { "[run]\nvcpu = 0", "f:2:", "must be from 1 to 32" },
    { "[run]\nvcpu = 33", "f:2:", "must be from 1 to 32" },
    { "[run]\nvcpu = 1.5", "f:2:", "expected an integer, not a float" },
    { "[run]\nmemory_mb = 3", "f:2:", "must be from 4 to 16384" },
    { "[run]\nmemory_mb = 16385", "f:2:", "must be from 4 to 16384" },
    { "[run]\nnet = \"wifi\"", "f:2:", "none, tap or tap:INTERFACE" },
    { "[run]\nkernel_args = \"a\\nb\"", "f:2:", "printable" },
    { "[project]\nlanguage = \"rust\"", "f:2:", "python, c or linux-elf" },
    { "[project]\nentry = \"/etc/passwd\"", "f:2:", "inside the project" },
    { "[project]\nentry = \"a/../../b\"", "f:2:", "inside the project" },
    { "[project]\nentry = \"a\\u0000b\"", "f:2:", "NUL" },
    { "[env]\npackages = \"python3\"", "f:2:", "expected an array of strings" },
    { "[env]\npackages = [1]", "f:2:", "expected a string" },
    { "[env]\npackages = [\n\"ok\",\n\"-o\"]", "f:4:", "Debian package names" },
    { "[env]\npackages = [\"x=1\"]", "f:2:", "Debian package names" },
    { "[env]\npackages = [\"dash-\"]", "f:2:", "Debian package names" },
    { "[env]\nbase = \"python-4\"", "f:2:", "python-3.11" },
    { "[caps]\nallow = [\"root\"]", "f:2:", "of log, time" },
    { "[net]\nip = \"1.2.3\"", "f:2:", "IPv4" },
    { "[net]\nip = \"1.2.3.256\"", "f:2:", "IPv4" },
    { "[net]\nmac = \"06:00:ac:10:00:0\"", "f:2:", "hardware address" },
    { "[limits]\nhandles = 31", "f:2:", "must be from 32" },
    { "[run", "f:1:5:", "expected ]" },
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        struct manifest m;
        char error[256] = "";

        if (manifest_parse("f", bad[i].text, strlen(bad[i].text), "app", &m, error,
                           sizeof(error)) == 0) {
            fail_msg("accepted: %s", bad[i].text);
        }
        if (strncmp(error, bad[i].begins, strlen(bad[i].begins)) != 0 ||
            !strstr(error, bad[i].holds)) {
            fail_msg("%s: \"%s\" should begin with %s and hold \"%s\"", bad[i].text, error,
                     bad[i].begins, bad[i].holds);
        }
        assert_null(strchr(error, '\n'));
        assert_null(m.name);
    }
}

static void a_bad_directory_name_needs_a_project_name(void **state)
{
    struct manifest m;
    char error[256];

    (void)state;
    assert_int_equal(manifest_parse("f", "", 0, "My Dir", &m, error, sizeof(error)), -1);
    assert_non_null(strstr(error, "project.name is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(all_keys),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_bad_directory_name_needs_a_project_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
