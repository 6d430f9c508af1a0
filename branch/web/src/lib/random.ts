// 128 random bits as text. (`crypto.randomUUID` exists on HTTPS pages only; offices run on plain HTTP, too.)
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
