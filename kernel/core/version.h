/* SPDX-License-Identifier: Apache-2.0 */
/* What uname(2), the banner and the documents call this kernel. */
#pragma once

#define DRUPE_VERSION "0.1.0"
