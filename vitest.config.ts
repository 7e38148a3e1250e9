import { defineConfig } from "vitest/config";

const beside = ["proto", "server", "agent", "cli", "tools"].map((folder) => `${folder}/**/*.test.ts`);
const kernelSuites = ["test/e2e/**/*.test.ts", "*/**/*.e2e.test.ts"];

// test/README.md says which suite needs what. The groups run one after the other, so that the kernel suites,
// which measure times and load both cores, never share the machine with the other suites.
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
      {
        test: {
          name: "e2e",
          include: kernelSuites,
          globalSetup: "test/e2e/global-setup.ts",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
