/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON text that was checked once, and the values in it by path. Nothing is decoded ahead: a
 * value is a piece of the text. No allocation, no recursion; any thread, while nobody changes the
 * text.
 */
#pragma once

#include <base/compiler.h>

#define DOCUMENT_DEPTH_MAX 1024u

struct json_piece {
    const char *at; /* its first byte; NULL: there is no such value */
    size_t size;    /* bytes of its text, blanks around it excluded */
};

/* Is this one JSON value (RFC 8259), nested at most DOCUMENT_DEPTH_MAX deep? Hostile bytes. */
bool document_check(const char *text, size_t size) MUST_CHECK;

/* The rest is for texts that passed. */

/* The whole text as a value. */
struct json_piece document_root(const char *text, size_t size);

/*
 * The value under a path of the form of RFC 6901 ("/a/b/0"; "" is the value itself). A trailing '/'
 * and empty parts are skipped over, so that "//a/" is "/a".
 */
struct json_piece document_find(struct json_piece value, const char *path, size_t path_size);

enum document_form {
    DOCUMENT_JSON,
    DOCUMENT_TEXT, /* of strings their text, of objects their keys in lines, objects' with a '/' */
};

/*
 * Write a value; at most value.size bytes, never more. SIZE_MAX: of this kind there is no text form
 * (numbers, lists, ...).
 */
size_t document_write(struct json_piece value, enum document_form form, char *out);
