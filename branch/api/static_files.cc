#include "branch/api/static_files.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/base/hash.h"
#include "common/base/ids.h"

namespace branchline {
namespace {

std::string type_of(const std::string& extension) {
  static const std::map<std::string, std::string> types = {
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".ico", "image/x-icon"},
      {".json", "application/json"},
      {".woff2", "font/woff2"},
      {".webmanifest", "application/manifest+json"}};
  auto at = types.find(extension);
  return at == types.end() ? "application/octet-stream" : at->second;
}

constexpr const char* kNotBuilt =
    "<!doctype html><title>Branchline</title><p>The web app is not built here. Run "
    "<code>tools/quickstart</code>, or "
    "<code>npm ci && npm run build</code> in <code>branch/web</code>. The API is at "
    "<code>/api/data/v9.2/</code>.";

}  // namespace

StaticFiles StaticFiles::load(const std::string& directory) {
  StaticFiles out;
  std::error_code ec;
  // Links to folders are not followed. What cannot be read (a link to itself, no right to it) is
  // left out: an office starts without a file of its web app rather than not at all.
  constexpr auto kSkip = std::filesystem::directory_options::skip_permission_denied;
  for (auto it = std::filesystem::recursive_directory_iterator(directory, kSkip, ec);
       !ec && it != std::filesystem::recursive_directory_iterator(); it.increment(ec)) {
    std::error_code unreadable;
    if (!it->is_regular_file(unreadable)) continue;
    std::ifstream in(it->path(), std::ios::binary);
    if (!in) continue;
    std::ostringstream bytes;
    bytes << in.rdbuf();
    File f;
    f.body = bytes.str();
    f.content_type = type_of(it->path().extension().string());
    f.etag = "\"" + to_hex(hash64(f.body)) + "\"";
    // By the name that it has here, also where it is a link to a file elsewhere.
    std::string name = "/" + it->path().lexically_relative(directory).generic_string();
    f.hashed_name = name.starts_with("/assets/");
    out.files_[name] = std::move(f);
  }
  for (auto& [name, file] : out.files_) {
    auto zipped = out.files_.find(name + ".gz");
    if (zipped != out.files_.end()) file.gzip = std::move(zipped->second.body);
  }
  std::erase_if(out.files_, [](const auto& f) { return f.first.ends_with(".gz"); });
  if (!out.files_.count("/index.html")) {
    out.files_["/index.html"] = {"text/html; charset=utf-8", kNotBuilt, "", "\"not-built\"", false};
  }
  return out;
}

HttpResponse StaticFiles::answer(const std::string& path, std::string_view if_none_match,
                                 std::string_view accept_encoding) const {
  auto at = files_.find(path);
  if (at == files_.end()) {
    bool looks_like_file =
        path.rfind('.') != std::string::npos && path.rfind('.') > path.rfind('/');
    if (looks_like_file)
      return not_found_response(
          "/ (the web app), /api/data/v9.2/, /api/sync/status, /healthz, /metrics");
    at = files_.find("/index.html");
  }
  const File& f = at->second;
  bool zip = !f.gzip.empty() && accept_encoding.find("gzip") != std::string_view::npos;
  // Two forms of one file are two representations: each has its own ETag.
  std::string etag = zip ? f.etag.substr(0, f.etag.size() - 1) + "-gzip\"" : f.etag;
  HttpResponse r;
  r.content_type = f.content_type;
  r.headers.emplace_back("ETag", etag);
  if (!f.gzip.empty()) r.headers.emplace_back("Vary", "Accept-Encoding");
  r.headers.emplace_back("Cache-Control",
                         f.hashed_name ? "public, max-age=31536000, immutable" : "no-cache");
  r.headers.emplace_back("X-Content-Type-Options", "nosniff");
  if (f.content_type.starts_with("text/html")) {
    r.headers.emplace_back(
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
    r.headers.emplace_back("Referrer-Policy", "no-referrer");
  }
  if (if_none_match == etag) {
    r.status = 304;
    return r;
  }
  if (zip) r.headers.emplace_back("Content-Encoding", "gzip");
  r.body = zip ? f.gzip : f.body;
  return r;
}

}  // namespace branchline
