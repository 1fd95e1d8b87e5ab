// The kernels of the language model on NVIDIA GPUs; each file says what its own are for.
#include "attention.cuh"
#include "draw.cuh"
#include "embed.cuh"
#include "product.cuh"
