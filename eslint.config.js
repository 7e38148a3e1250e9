import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

// Who may import whom (STYLE: data flows one way). A group is a regular expression on the import's text and the reason shown to the author.
const tests = ["**/*.test.ts"];
const reachingOut = {
  regex: String.raw`^(\.\./)+(proto|server|agent|cli|test|tools)/`,
  message: "Cross a top folder only by its alias (#proto/…), so that the rules of this file can see it.",
};
const ownAnd = (/** @type {string[]} */ folders) => ({
  regex: `^#(?!(${folders.join("|")})/)`,
  message: `This folder imports only #${folders.join("/ and #")}/: server, agent and cli never import each other, and nobody imports tests.`,
});
const processes = {
  regex: "^(execa|(node:)?child_process)$",
  message: "Only files named exec*.ts start processes: one place to see argument arrays, time limits and signals.",
};
const whole = {
  regex: "^(prom-client|node:http)$",
  allowTypeImports: true,
  message:
    "Loads megabytes that a server or agent never uses (docs/adr/0330): prometheus.ts, node-http.ts, client-node.ts have what is needed.",
};
const impure = {
  regex: "^(node:|execa$|pino($|/))",
  message: "agent/compile and render.ts are pure: same input, same bytes. Read sockets, disk, clock and kernel elsewhere.",
};
const imports = (/** @type {{regex: string, message: string, allowTypeImports?: boolean}[]} */ ...patterns) => ({
  "@typescript-eslint/no-restricted-imports": ["error", { patterns: [reachingOut, ...patterns] }],
});

export default defineConfig(
  globalIgnores(["node_modules/", "coverage/", "dist/"]),
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ["*.js", "tools/*.js"] }, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-console": ["error", { allow: ["error"] }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // An interface may be asynchronous for the sake of another of its implementations.
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-unnecessary-condition": ["error", { allowConstantLoopConditions: "only-allowed-literals" }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true }],
      // `throw signal.reason` and `throw outcome.reason` pass on what somebody else has thrown.
      "@typescript-eslint/only-throw-error": ["error", { allowThrowingAny: true, allowThrowingUnknown: true }],
      "@typescript-eslint/prefer-promise-reject-errors": ["error", { allowThrowingAny: true, allowThrowingUnknown: true }],
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration", message: "Export by name." },
        { selector: "ExportAllDeclaration", message: "No barrels: import from the file that defines it." },
      ],
      ...imports(),
    },
  },
  {
    files: ["proto/**/*.ts"],
    rules: imports({ regex: String.raw`^(?!\.{1,2}/|#proto/|zod$)`, message: "proto imports nobody; only zod." }),
  },
  {
    files: ["proto/**/*client*.ts"],
    rules: imports({ regex: String.raw`^(?!\.{1,2}/|#proto/|zod$|node:)`, message: "proto's client imports only zod and node:*." }, whole),
  },
  { files: ["server/**/*.ts"], rules: imports(ownAnd(["proto", "server"]), whole, processes) },
  { files: ["server/**/exec*.ts"], rules: imports(ownAnd(["proto", "server"]), whole) },
  { files: ["cli/**/*.ts"], rules: imports(ownAnd(["proto", "cli"])) },
  { files: ["agent/**/*.ts"], rules: imports(ownAnd(["proto", "agent"]), whole, processes) },
  { files: ["agent/**/exec*.ts"], rules: imports(ownAnd(["proto", "agent"]), whole) },
  { files: ["agent/compile/**/*.ts", "**/render.ts", "**/render-*.ts"], rules: imports(ownAnd(["proto", "agent"]), impure) },
  {
    files: [...tests, "test/**/*.ts"],
    rules: {
      ...imports(),
      // test.for and expect take methods as values.
      "@typescript-eslint/unbound-method": "off",
    },
  },
  { files: ["cli/**/*.ts", "test/bench/**/*.ts", "test/demo/**/*.ts"], rules: { "no-console": "off" } },
  {
    files: ["*.js", "tools/*.js", "*.config.ts"],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { "no-restricted-syntax": "off" },
  },
);
