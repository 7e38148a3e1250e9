/**
 * Text from objects may hold escape sequences that move the cursor, set the title or reorder what is read; on a terminal they are shown, never
 * obeyed. C0, DEL, C1, and Unicode's bidirectional and line-separating controls.
 */
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const CONTROLS_BUT_NEWLINE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** One line's worth: every control character as an escape. */
export function clean(text: string): string {
  return text.replace(CONTROLS, escape);
}

/** For text of several lines, JSON and YAML among them: there the escape is also the right notation inside of quotes. */
export function cleanLines(text: string): string {
  return text.replace(CONTROLS_BUT_NEWLINE, escape);
}

function escape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
