import react from '@vitejs/plugin-react';
import { defineConfig, loadEnv } from 'vite';

// `BRANCH=http://127.0.0.1:7410 npm run dev` develops against a running branch.
export default defineConfig(({ mode }) => {
  const branch = loadEnv(mode, '.', 'BRANCH')['BRANCH'] ?? 'http://127.0.0.1:7410';
  return {
    plugins: [react()],
    server: { proxy: { '/api': branch } },
    build: {
      target: 'es2023',
      // The colours are CSS custom properties; older targets would have them rewritten.
      cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
      reportCompressedSize: false,
      // Every file is one of our own origin: the Content-Security-Policy takes no data: fonts or scripts.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
  };
});
