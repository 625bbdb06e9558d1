"""A program that adds on a GPU, and says what came out or why nothing did."""

from __future__ import annotations

PROBE = """
#include <cstdio>
__global__ void add(int *sum) { atomicAdd(sum, threadIdx.x); }
int main() {
  int *sum = nullptr, found = 0;
  cudaError_t error = cudaMalloc(&sum, sizeof found);
  if (!error) error = cudaMemset(sum, 0, sizeof found);
  if (!error) add<<<1, 100>>>(sum);
  if (!error) error = cudaGetLastError();
  if (!error) error = cudaMemcpy(&found, sum, sizeof found, cudaMemcpyDeviceToHost);
  if (error) std::printf("%s\\n", cudaGetErrorString(error)); else std::printf("%d\\n", found);
  return error;
}
"""
