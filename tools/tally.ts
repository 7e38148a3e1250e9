// What a test run amounts to: the closing line that people and CI read, and the reasons why a run without a failed test is still no success.

export interface ProjectCounts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface Run {
  counts: Record<string, ProjectCounts>; // by vitest project, those asked for; a failed hook or a file that does not load is one failure
  strayErrors: number; // errors outside of any test: a rejection nobody handled, a worker that died
  partial: boolean; // only some files or tests were asked for
}

export const kernelProjects: readonly string[] = ["e2e", "e2e-alone"];

export function closingLine(run: Run): string {
  const total = sum(run);
  return `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`;
}

export function complaints(run: Run): string[] {
  const total = sum(run);
  const found: string[] = [];
  if (total.passed + total.failed === 0) found.push("not one test ran");
  for (const project of run.partial ? [] : kernelProjects) {
    const kernel = run.counts[project];
    if (!kernel) continue;
    if (kernel.skipped > 0) found.push(`${kernel.skipped} kernel tests (${project}) were skipped; they must run, or be deleted`);
    if (kernel.passed + kernel.failed === 0) found.push(`not one kernel test (${project}) ran`);
  }
  return found;
}

export function succeeded(run: Run): boolean {
  return sum(run).failed === 0 && complaints(run).length === 0;
}

function sum(run: Run): ProjectCounts {
  const total = { passed: 0, failed: run.strayErrors, skipped: 0 };
  for (const { passed, failed, skipped } of Object.values(run.counts)) {
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
  }
  return total;
}
