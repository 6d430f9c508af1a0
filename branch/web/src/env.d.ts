// A style sheet with its fonts; the package brings no types.
declare module '@fontsource-variable/inter';
