/** How long the shortest of five runs took: a run may lose its processor to others, but not gain anything. */
export function shortestMs(run: () => void): number {
  return Math.min(
    ...Array.from({ length: 5 }, () => {
      const startedMs = performance.now();
      run();
      return performance.now() - startedMs;
    }),
  );
}
