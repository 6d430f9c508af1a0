// Files that others read while they are written.
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

// Whole or not at all: a reader never sees half of it.
export function writeWhole(file, text, mode = 0o644) {
  const fresh = path.join(path.dirname(file), `.${path.basename(file)}.new`);
  writeFileSync(fresh, text, { mode });
  renameSync(fresh, file);
}
