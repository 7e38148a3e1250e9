import { defineConfig } from "vitest/config";

const beside = ["proto", "server", "agent", "cli", "tools"].map((folder) => `${folder}/**/*.test.ts`);
const kernelSuites = ["test/e2e/**/*.test.ts", "*/**/*.e2e.test.ts"];

/** Suites that measure how long something takes, or load both cores: beside another they would measure that. */
const alone = ["agent-health", "agent-traffic", "coexistence-damage", "dataplane", "ipvs", "nftables", "resolver-others", "switch"].map(
  (name) => `test/e2e/${name}.e2e.test.ts`,
);
const kernel = {
  globalSetup: "test/e2e/global-setup.ts",
  testTimeout: 120_000,
  hookTimeout: 120_000,
};

// test/README.md says which suite needs what. The groups run one after the other, so that suites that measure times have the machine for themselves.
export default defineConfig({
  test: {
    allowOnly: false,
    projects: [
      {
        test: {
          name: "unit",
          include: [...beside, "test/*.test.ts", "test/packet/**/*.test.ts", "test/bench/**/*.test.ts", "test/fleet/**/*.test.ts"],
          exclude: kernelSuites,
          testTimeout: 10_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      // Each has namespaces of its own and waits most of its time: two at once take little more than one.
      { test: { ...kernel, name: "e2e", include: kernelSuites, exclude: alone, maxWorkers: 2, sequence: { groupOrder: 2 } } },
      { test: { ...kernel, name: "e2e-alone", include: alone, fileParallelism: false, sequence: { groupOrder: 3 } } },
    ],
  },
});
