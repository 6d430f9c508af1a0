import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

// A deep green that reads on paper white and on ink; one accent for everything that can be pressed.
const brand: MantineColorsTuple = [
  '#eaf7f3', '#d3ece5', '#a6d9cb', '#76c5b0', '#4fb499', '#35a98b', '#1f8f75', '#127661', '#0f6b5c', '#094f43',
];

// Greys with the same tint as the screens' own surfaces.
const dark: MantineColorsTuple = [
  '#d5dcd9', '#b7c1bd', '#97a39f', '#6d7976', '#3b4443', '#323938', '#222827', '#191d1d', '#141818', '#101313',
];

const kSans = "'Inter Variable', system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

export const theme = createTheme({
  primaryColor: 'brand',
  primaryShade: { light: 8, dark: 6 },
  colors: { brand, dark },
  fontFamily: kSans,
  fontSizes: { xs: '0.78rem', sm: '0.875rem', md: '0.9375rem', lg: '1.0625rem', xl: '1.25rem' },
  headings: { fontFamily: kSans, fontWeight: '620' },
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  focusRing: 'auto',
  components: {
    InputWrapper: { styles: { label: { marginBottom: 4, color: 'var(--mantine-color-dimmed)', fontSize: '0.8rem', fontWeight: 450 } } },
    Modal: { styles: { title: { fontSize: '1.1rem', fontWeight: 620 } }, defaultProps: { radius: 14, padding: 'xl' } },
    Tooltip: { defaultProps: { openDelay: 200 } },
  },
});

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-body': '#ffffff',
    '--mantine-color-text': '#1c2422',
    '--mantine-color-dimmed': '#5d6966',
    '--mantine-color-default-border': '#dfe4e1',
  },
  dark: {
    '--mantine-color-body': '#191d1d',
    '--mantine-color-text': '#e4e9e6',
    '--mantine-color-dimmed': '#97a39f',
    '--mantine-color-default-border': '#323938',
  },
});
