// What a terminal sends for keys, as names: one character stands for itself. Over a slow line a key's bytes may come one by one, and Escape
// alone is only known by what does not follow.

/** "a", "/", and names like "up"; all else that comes is none. */
export type Key = string;

const ESCAPE = "\x1b";
const NAMES: Readonly<Record<string, Key>> = {
  ...{ "\x03": "ctrl-c", "\x1a": "ctrl-z", "\x0c": "ctrl-l", "\x15": "ctrl-u" },
  ...{ "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace" },
};
/** By the end of a sequence: ECMA-48's CSI, or SS3 of a keypad. */
const SEQUENCES: Readonly<Record<string, Key>> = {
  ...{ A: "up", B: "down", H: "home", F: "end" },
  ...{ "5~": "page-up", "6~": "page-down", "1~": "home", "4~": "end", "7~": "home", "8~": "end" },
};
/** Behind Escape: a whole sequence, and what may still become one. */
const WHOLE = /^(?:\[([0-9;]*[@-~])|O([@-~]))/;
const PART = /^(?:\[[0-9;]*|O)?$/;
/** Longer ones are none of a keyboard's. */
const MOST_SEQUENCE = 16;

export class KeyReader {
  private held = "";

  /** @returns the keys that are whole. @param text as it came */
  read(text: string): Key[] {
    this.held += text;
    const keys: Key[] = [];
    while (this.held !== "") {
      if (this.held[0] !== ESCAPE) {
        keys.push(...nameOf(this.held[0]));
        this.held = this.held.slice(1);
        continue;
      }
      const rest = this.held.slice(1);
      const [whole = "", csi, ss3] = WHOLE.exec(rest) ?? [];
      if (whole === "" && PART.test(rest) && rest.length < MOST_SEQUENCE) break;
      const key = SEQUENCES[csi ?? ss3 ?? ""];
      if (whole === "") keys.push("escape");
      else if (key !== undefined) keys.push(key);
      this.held = rest.slice(whole.length);
    }
    return keys;
  }

  /** Whether something waits for its end. */
  get isWaiting(): boolean {
    return this.held !== "";
  }

  /** Nothing more comes of it. */
  flush(): Key[] {
    const { held } = this;
    this.held = "";
    return held === "" ? [] : ["escape", ...[...held.slice(1)].flatMap(nameOf)];
  }
}

function nameOf(character: string): Key[] {
  const name = NAMES[character];
  if (name !== undefined) return [name];
  return character >= " " && character <= "~" ? [character] : [];
}
