// Before the first paint, so that a dark screen never flashes white. A file of its own: the
// Content-Security-Policy allows no inline script. The key is Mantine's.
(function () {
  var wanted = null;
  try {
    wanted = localStorage.getItem('mantine-color-scheme-value');
  } catch (e) {
    // storage is forbidden: the system's scheme it is
  }
  var dark = wanted === 'dark' || (wanted !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
