// What is done to frames on a GPU. Compiled to frames.ptx by tests/engines/cuda/make_kernels.py; a test
// compiles it as C, too, and compares it with what is done on a processor.

#define BITS 22
#define HALF (1 << (BITS - 1))

struct Job {
  unsigned long long pixels;  // address of the frame's first pixel
  long long pitch;            // bytes from one row of the frame to the next
  int width, height, channels;
  int turned;  // whether the frame's channels come in the other order than the output's
  int left, top;  // of the part, which may reach over the border: its pixels are repeated there
  int out_width, out_height;  // beyond them there is the margin
  int across, across_taps;  // where the table for columns begins, and the weights in each of its rows
  int down, down_taps;      // the same for rows
};

static __device__ int clipped(int sum) {
  int value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

static __device__ int within(int value, int size) {
  return value < 0 ? 0 : value < size ? value : size - 1;
}

// Parts of frames at another size, in the layout that a network takes: crops of faces and letterboxed
// frames, any number in one launch, one thread an output pixel. A row of a table has the first pixel of
// the part that counts, then weights.
//
// Integers only, as Pillow computes: rows first, rounded to 8 bits, then columns, with weights of 22
// bits after the point. So a processor and every GPU give the same bytes.
#ifdef __cplusplus
extern "C"
#endif
__global__ void resample(const struct Job *jobs, const int *tables, unsigned char *out, int width,
                         int height, int channels, int planar, unsigned int margin) {
  int x = blockIdx.x * blockDim.x + threadIdx.x;
  int y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  struct Job job = jobs[blockIdx.z];
  int value[3];
  value[0] = margin & 255;
  value[1] = margin >> 8 & 255;
  value[2] = margin >> 16 & 255;
  if (x < job.out_width && y < job.out_height) {
    const int *across = tables + job.across + x * (job.across_taps + 1);
    const int *down = tables + job.down + y * (job.down_taps + 1);
    const unsigned char *pixels = (const unsigned char *)job.pixels;
    int first = job.turned ? 2 : 0;
    int sum0 = HALF, sum1 = HALF, sum2 = HALF;
    for (int j = 0; j < job.down_taps; ++j) {
      int weight = down[j + 1];
      if (weight == 0) continue;
      const unsigned char *row = pixels + job.pitch * within(job.top + down[0] + j, job.height);
      int row0 = HALF, row1 = HALF, row2 = HALF;
      for (int i = 0; i < job.across_taps; ++i) {
        int share = across[i + 1];
        if (share == 0) continue;
        int column = within(job.left + across[0] + i, job.width);
        if (job.channels == 1) {
          row0 += share * row[column];
          continue;
        }
        const unsigned char *pixel = row + 3 * column;
        int a = pixel[first], b = pixel[1], c = pixel[2 - first];
        if (channels == 1) {  // ITU-R BT.601 of red, green and blue
          row0 += share * ((a * 19595 + b * 38470 + c * 7471 + 0x8000) >> 16);
        } else {
          row0 += share * a;
          row1 += share * b;
          row2 += share * c;
        }
      }
      sum0 += weight * clipped(row0);
      sum1 += weight * clipped(row1);
      sum2 += weight * clipped(row2);
    }
    value[0] = clipped(sum0);
    value[1] = job.channels == 1 ? value[0] : clipped(sum1);
    value[2] = job.channels == 1 ? value[0] : clipped(sum2);
  }
  long long area = (long long)width * height, at = (long long)y * width + x;
  out += blockIdx.z * area * channels;
  for (int c = 0; c < channels; ++c) out[planar ? c * area + at : at * channels + c] = value[c];
}

struct Candidate {
  int place;  // of its anchor, among those of all frames
  float score, box[4], landmarks[10];
};

// Of a detector's outputs what is as sure as ``least``, in any order: a few rows of many thousands. One
// thread an anchor. A score that is no number goes along, so that it is noticed.
#ifdef __cplusplus
extern "C"
#endif
__global__ void candidates(const float *scores, const float *boxes, const float *landmarks,
                           int anchors, float least, int *number, struct Candidate *found) {
  int place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= anchors || scores[place] < least) return;
  struct Candidate one;
  one.place = place;
  one.score = scores[place];
  for (int i = 0; i < 4; ++i) one.box[i] = boxes[4ll * place + i];
  for (int i = 0; i < 10; ++i) one.landmarks[i] = landmarks[10ll * place + i];
  found[atomicAdd(number, 1)] = one;
}
