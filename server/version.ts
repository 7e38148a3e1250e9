import packageFacts from "../package.json" with { type: "json" };

export const VERSION: string = packageFacts.version;

/** The API of the kinds that we have is that of this release; kubectl warns when it is more than one minor away. */
const API_MINOR = "32";

export const KUBERNETES_VERSION = {
  major: "1",
  minor: API_MINOR,
  gitVersion: `v1.${API_MINOR}.0+fairlead.${VERSION}`,
  gitCommit: "",
  gitTreeState: "",
  buildDate: "",
  goVersion: "",
  compiler: "",
  platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
} as const;
