/** Names of lists, never used twice, also not by the agent before us: a rule set that somebody restored from a file is told from ours by it. */
export function canaries(): () => string {
  const epoch = `${Date.now().toString(36)}-${process.pid}`;
  let writes = 0;
  return () => `${epoch}-${++writes}`;
}
