/// <reference types="node" />
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, loadEnv, type Plugin } from 'vite';

// The branch sends files as they are, and a `.gz` beside one to whoever takes it.
function compressed(): Plugin {
  return {
    name: 'branchline-compressed',
    apply: 'build',
    enforce: 'post',
    generateBundle(_options, bundle) {
      for (const [fileName, file] of Object.entries(bundle)) {
        if (!/\.(js|css)$/.test(fileName)) continue;
        const source = gzipSync(file.type === 'chunk' ? file.code : file.source, { level: 9 });
        this.emitFile({ type: 'asset', fileName: `${fileName}.gz`, source });
      }
    },
  };
}

// `BRANCH=http://127.0.0.1:7410 npm run dev` develops against a running branch.
export default defineConfig(({ mode }) => {
  const branch = loadEnv(mode, '.', 'BRANCH')['BRANCH'] ?? 'http://127.0.0.1:7410';
  return {
    plugins: [react(), compressed()],
    server: { proxy: { '/api': branch } },
    build: {
      target: 'es2023',
      // The colours are CSS custom properties; older targets would have them rewritten.
      cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
      reportCompressedSize: false,
      // 640 kB are 195 kB on the wire.
      chunkSizeWarningLimit: 750,
      // Every file is one of our own origin: the Content-Security-Policy takes no data: fonts or scripts.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
  };
});
