/* The kernel on a processor, thread after thread, also in the place of the driver's launch.
   gcc -O2 -shared -fPIC -I fer_edge/engines/cuda -o libresample.so this.c */
#include <string.h>
#define __device__
#define __global__
static struct { unsigned x, y, z; } blockIdx, blockDim, threadIdx;
static int atomicAdd(int *number, int more) {
  int before = *number;
  *number += more;
  return before;
}
#include "frames.cu"

int cuModuleLoadData(void **module, const char *image) {
  *module = (void *)image;
  return image[0] == '/' ? 0 : 218; /* CUDA_ERROR_INVALID_PTX */
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = strcmp(name, "resample") ? (void *)candidates : (void *)resample;
  return strcmp(name, "resample") && strcmp(name, "candidates") ? 500 : 0; /* CUDA_ERROR_NOT_FOUND */
}

static void thread(void *function, void **given) {
  if (function == (void *)resample)
    resample(*(const struct Job **)given[0], *(const int **)given[1], *(unsigned char **)given[2],
             *(int *)given[3], *(int *)given[4], *(int *)given[5], *(int *)given[6],
             *(unsigned *)given[7]);
  else
    candidates(*(const float **)given[0], *(const float **)given[1], *(const float **)given[2],
               *(int *)given[3], *(float *)given[4], *(int **)given[5],
               *(struct Candidate **)given[6]);
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **given, void **extra) {
  if (bz != 1 || shared || extra) return 1; /* CUDA_ERROR_INVALID_VALUE */
  blockDim.x = bx, blockDim.y = by, blockDim.z = bz;
  for (blockIdx.z = 0; blockIdx.z < gz; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gy; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x)
        for (threadIdx.y = 0; threadIdx.y < by; ++threadIdx.y)
          for (threadIdx.x = 0; threadIdx.x < bx; ++threadIdx.x) thread(function, given);
  return 0;
}
