/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests speak x86-64's file ABI. */
#pragma once

#include "../../../x86_64/include/arch/abi_fs.h"
