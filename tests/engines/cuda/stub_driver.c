/* A CUDA driver whose streams take half a second: gcc -shared -fPIC -o libcuda.so.1 this.c -ldl */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "stub"; return 0; }
int cuStreamSynchronize(void *stream) { usleep(500000); return 0; }
int cuStreamSynchronize_ptsz(void *stream) { return cuStreamSynchronize(stream); }

int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags,
                        int *status) {
  void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  char second[256];
  snprintf(second, sizeof second, "%s_v2", name);
  *found = self ? dlsym(self, name) : 0;
  if (!*found && self) *found = dlsym(self, second);
  if (status) *status = *found ? 0 : 1;
  return *found ? 0 : 500;
}
int cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, found, version, flags, 0);
}
