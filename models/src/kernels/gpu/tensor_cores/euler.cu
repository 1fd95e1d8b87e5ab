// What a step of an Euler solver does beside asking for the velocity.

// Of a step: what is left of the noise at its time, the time, its length, and how far the condition guides.
struct Step {
    float left, time, length, guidance;
};

// Leads the first `known` numbers of the state along their own straight way from noise to what is known, and puts the state
// before what else the velocity follows from: rows of `width` numbers, `entries` times `positions` rows of `input_width`.
extern "C" __global__ void enter_step(const Step* step, float* state, const float* noise, const float* known, float* input,
                                      int known_count, int count, int width, int input_width, int entries) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float x = state[i];
    if (i < known_count) state[i] = x = noise[i] * step->left + known[i] * step->time;
    const int positions = count / width;
    for (int entry = 0; entry < entries; entry++) {
        input[((long long)entry * positions + i / width) * input_width + i % width] = x;
    }
}

// Follows the velocity: of one entry, or of one without and one with the condition.
extern "C" __global__ void leave_step(const Step* step, float* state, const float* velocity, int count, int entries) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float v = velocity[i];
    if (entries == 2) v += (velocity[count + i] - v) * step->guidance;
    state[i] += v * step->length;
}
