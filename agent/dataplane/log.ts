/** What the data plane needs of a logger; pino fits. */
export interface DataplaneLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
