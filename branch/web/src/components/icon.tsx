// The app's few icons: 24 by 24, drawn with one stroke.
const kPaths = {
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16.2 16.2 21 21',
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  up: 'M6 15l6-6 6 6',
  down: 'M6 9l6 6 6-6',
  right: 'M9 6l6 6-6 6',
  close: 'M6 6l12 12M18 6L6 18',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3.2 2',
  warning: 'M12 4 2.8 20h18.4L12 4ZM12 10.5v4M12 17.4v.1',
  pen: 'M4 20l1-4L16.5 4.5l3 3L8 19l-4 1Z',
  note: 'M5 4h14v11l-5 5H5V4ZM14 20v-5h5',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM3 20c0-3.6 2.6-6 6-6s6 2.4 6 6M16 4.4a3.5 3.5 0 0 1 0 6.2M17.5 14.4c2.2.8 3.5 2.9 3.5 5.6',
  building: 'M5 21V4h9v17M14 9h5v12M3 21h18M8 8h3M8 12h3M8 16h3',
  box: 'M4 8l8-4 8 4v8l-8 4-8-4V8ZM4 8l8 4 8-4M12 12v8',
  truck: 'M2 6h12v10H2V6ZM14 10h4l4 3.5V16h-8v-6ZM6.5 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM17.5 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z',
  chat: 'M4 5h16v11H10l-4.5 4V16H4V5Z',
  link: 'M9 15l6-6M10.5 6.5l1.8-1.8a4.2 4.2 0 0 1 6 6L16.500 12.5M13.500 17.5l-1.8 1.8a4.2 4.2 0 0 1-6-6L7.5 11.5',
  cut: 'M10.500 6.5l1.8-1.8a4.2 4.2 0 0 1 6 6L17 12M13.500 17.500l-1.8 1.8a4.2 4.2 0 0 1-6-6L7 12M4 4l16 16',
  person: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM5 20.500c0-3.900 3-6.500 7-6.500s7 2.600 7 6.500',
} as const;

export type IconName = keyof typeof kPaths;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={1.75}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      style={{ flex: 'none' }}
    >
      <path d={kPaths[name]} />
    </svg>
  );
}

export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" style={{ flex: 'none' }}>
      <rect width="32" height="32" rx="8" fill="#0f6b5c" />
      <path d="M10 7v18M10 15c0 5 12 2 12 8" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" />
      <circle cx="22" cy="24" r="2.6" fill="#fff" />
      <circle cx="10" cy="7" r="2.6" fill="#fff" />
    </svg>
  );
}
