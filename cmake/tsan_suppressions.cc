// Debian's RocksDB is not built with ThreadSanitizer, which hence sees its copies of memory but not
// the atomics that order them: what involves its frames, or those of its decompressor, is not told.
extern "C" const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "called_from_lib:librocksdb.so\n"
         "race:librocksdb.so\n"
         "race:liblz4.so\n";
}
