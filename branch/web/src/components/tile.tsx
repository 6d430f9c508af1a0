import styles from './tile.module.css';

function initials(name: string): string {
  const words = name.split(/[\s,/&-]+/).filter((w) => /^[\p{L}\p{N}]/u.test(w));
  const first = words[0]?.[0] ?? '?';
  const last = words.length > 1 ? (words[words.length - 1]?.[0] ?? '') : '';
  return (first + last).toUpperCase();
}

// Two letters to find a row by; the name stands beside it.
export function Tile({ name, size = 36, round = false }: { name: string; size?: number; round?: boolean }) {
  return (
    <span
      className={styles['tile']}
      aria-hidden="true"
      style={{ width: size, height: size, fontSize: size * 0.36, borderRadius: round ? '50%' : size * 0.28 }}
    >
      {initials(name)}
    </span>
  );
}
