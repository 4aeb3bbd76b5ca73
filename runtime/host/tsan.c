/* tsan.c - part of the program only under ThreadSanitizer.
 *
 * Lua's coroutines and errors leave C functions by _longjmp(3), which a fortified libc makes
 * __longjmp_chk(). ThreadSanitizer does not watch that on Linux, as it does longjmp(3)
 * (compiler-rt, tsan_interceptors_posix.cpp): it takes the functions for still being called, until
 * its stack of 65536 calls is full. The program's own function comes before that of libc. */
#include <setjmp.h>

void __longjmp_chk(jmp_buf env, int value);

void __longjmp_chk(jmp_buf env, int value) {
  longjmp(env, value);
}
