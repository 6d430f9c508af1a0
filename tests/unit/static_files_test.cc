// The web app's files: what is served, as what, for how long it may be kept, and that nothing else
// is.
#include <catch2/catch.hpp>

#include <fstream>

#include "tests/support/live_office.h"
#include "tests/support/temp_folder.h"

namespace branchline {
namespace {

struct Site {
  TempFolder folder;
  std::string web = (folder / "web").string();

  Site() {
    put("web/index.html", "<!doctype html><title>app</title>");
    put("web/assets/index-4f3a.js", "console.log('app')");
    put("web/assets/index-4f3a.js.gz", "\x1f\x8b smaller");
    put("web/assets/index-77aa.css", "body{}");
    put("web/assets/font.woff2", "woff");
    put("web/favicon.ico", "ico");
    put("web/logo.svg", "<svg/>");
    put("web/app.webmanifest", "{}");
    put("web/LICENSES", "no extension");
    put("web/odd.bin", "?");
    put("secret.txt", "not the app's");
    put("web-other/index.html", "a neighbour whose name begins alike");
  }
  void put(const std::string& name, const std::string& bytes) {
    auto path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }
  StaticFiles load() const { return StaticFiles::load(web); }
};

std::string header(const HttpResponse& r, const std::string& name) {
  for (const auto& [n, v] : r.headers) {
    if (n == name) return v;
  }
  return "";
}

}  // namespace

TEST_CASE("web: each file is served as what it is, and never guessed at", "[web]") {
  Site site;
  StaticFiles files = site.load();
  const std::pair<const char*, const char*> types[] = {
      {"/index.html", "text/html; charset=utf-8"},
      {"/assets/index-4f3a.js", "text/javascript; charset=utf-8"},
      {"/assets/index-77aa.css", "text/css; charset=utf-8"},
      {"/assets/font.woff2", "font/woff2"},
      {"/favicon.ico", "image/x-icon"},
      {"/logo.svg", "image/svg+xml"},
      {"/app.webmanifest", "application/manifest+json"},
      {"/LICENSES", "application/octet-stream"},
      {"/odd.bin", "application/octet-stream"}};
  for (const auto& [path, type] : types) {
    INFO(path);
    HttpResponse r = files.answer(path, "", "");
    CHECK(r.status == 200);
    CHECK(r.content_type == type);
    CHECK(header(r, "X-Content-Type-Options") == "nosniff");
  }
  HttpResponse page = files.answer("/index.html", "", "");
  CHECK_THAT(header(page, "Content-Security-Policy"),
             Catch::Contains("default-src 'self'") && Catch::Contains("frame-ancestors 'none'"));
  CHECK(header(page, "Referrer-Policy") == "no-referrer");
}

TEST_CASE("web: what has its hash in its name is kept for ever, the page is asked for each time",
          "[web]") {
  Site site;
  StaticFiles files = site.load();
  CHECK(header(files.answer("/assets/index-77aa.css", "", ""), "Cache-Control") ==
        "public, max-age=31536000, immutable");
  for (const char* path : {"/", "/index.html", "/accounts/4711", "/favicon.ico"}) {
    INFO(path);
    CHECK(header(files.answer(path, "", ""), "Cache-Control") == "no-cache");
  }
  std::string etag = header(files.answer("/", "", ""), "ETag");
  HttpResponse same = files.answer("/", etag, "");
  CHECK(same.status == 304);
  CHECK(same.body.empty());
  CHECK(header(same, "ETag") == etag);
  CHECK(files.answer("/", "\"another\"", "").status == 200);
  // After an update of the app the page is another, and says so.
  site.put("web/index.html", "<!doctype html><title>app 2</title>");
  CHECK(site.load().answer("/", etag, "").status == 200);
}

TEST_CASE("web: a compressed form goes to those who take it, under an ETag of its own", "[web]") {
  Site site;
  StaticFiles files = site.load();
  HttpResponse plain = files.answer("/assets/index-4f3a.js", "", "br");
  HttpResponse zipped = files.answer("/assets/index-4f3a.js", "", "br, gzip");
  CHECK(plain.body == "console.log('app')");
  CHECK(header(plain, "Content-Encoding").empty());
  CHECK(zipped.body == "\x1f\x8b smaller");
  CHECK(header(zipped, "Content-Encoding") == "gzip");
  CHECK(zipped.content_type == plain.content_type);
  for (const auto& r : {plain, zipped}) CHECK(header(r, "Vary") == "Accept-Encoding");
  CHECK(header(plain, "ETag") != header(zipped, "ETag"));
  CHECK(files.answer("/assets/index-4f3a.js", header(zipped, "ETag"), "gzip").status == 304);
  CHECK(files.answer("/assets/index-4f3a.js", header(zipped, "ETag"), "").status == 200);
  CHECK(header(files.answer("/assets/index-77aa.css", "", "gzip"), "Content-Encoding").empty());
  CHECK(files.answer("/assets/index-4f3a.js.gz", "", "").status == 404);
}

TEST_CASE("web: a path of the app's own gets its page, a file that is not there 404", "[web]") {
  Site site;
  StaticFiles files = site.load();
  std::string page = files.answer("/index.html", "", "").body;
  for (const char* path : {"/", "/accounts", "/accounts/0198a-b/edit", "/v1.2/deep", "/a/"}) {
    INFO(path);
    HttpResponse r = files.answer(path, "", "");
    CHECK(r.status == 200);
    CHECK(r.body == page);
    CHECK(r.content_type == "text/html; charset=utf-8");
  }
  // A script of an older build must not come as a page: the browser would not run it, nor say why.
  for (const char* path : {"/assets/index-old.js", "/robots.txt", "/assets/.hidden"}) {
    INFO(path);
    HttpResponse r = files.answer(path, "", "");
    CHECK(r.status == 404);
    CHECK(r.body.find(page) == std::string::npos);
    CHECK_THAT(r.body, Catch::Contains("/api/data/v9.2/"));
  }
}

TEST_CASE("web: a missing folder says what to do, and the API stands", "[web]") {
  TempFolder empty;
  for (const std::string& folder : {(empty / "none").string(), empty.path().string()}) {
    StaticFiles files = StaticFiles::load(folder);
    for (const char* path : {"/", "/accounts"}) {
      HttpResponse r = files.answer(path, "", "gzip");
      CHECK(r.status == 200);
      CHECK(r.content_type == "text/html; charset=utf-8");
      CHECK_THAT(r.body, Catch::Contains("not built") && Catch::Contains("tools/quickstart") &&
                             Catch::Contains("/api/data/v9.2/"));
      CHECK(header(r, "Cache-Control") == "no-cache");  // it is built a moment later
    }
    CHECK(files.answer("/assets/index.js", "", "").status == 404);
  }
}

TEST_CASE("web: links and what cannot be read do not stop an office from starting", "[web]") {
  Site site;
  std::filesystem::create_symlink("nowhere", site.folder / "web/dangling.js");
  std::filesystem::create_symlink("loop.js", site.folder / "web/loop.js");
  std::filesystem::create_directory_symlink("..", site.folder / "web/up");
  StaticFiles files = site.load();
  CHECK(files.answer("/", "", "").status == 200);
  CHECK(files.answer("/dangling.js", "", "").status == 404);
  CHECK(files.answer("/loop.js", "", "").status == 404);
  // A folder reached by a link is not the app's: nothing above the web folder is served.
  for (const char* path : {"/up/secret.txt", "/../secret.txt", "/up/web/logo.svg"}) {
    INFO(path);
    CHECK(files.answer(path, "", "").status == 404);
  }
}

TEST_CASE("web: a file that is a link is served by its own name, however the folder is named",
          "[web]") {
  Site site;
  site.put("store/4711.css", "linked");
  std::filesystem::create_symlink("../../store/4711.css", site.folder / "web/assets/theme.css");
  std::filesystem::create_directory_symlink("web", site.folder / "current");
  for (const std::string& folder :
       {site.web, site.web + "/", (site.folder / "current").string(),
        (site.folder / "store/../web").string(), (site.folder / "web/.").string()}) {
    INFO(folder);
    StaticFiles files = StaticFiles::load(folder);
    CHECK(files.answer("/", "", "").body == "<!doctype html><title>app</title>");
    HttpResponse linked = files.answer("/assets/theme.css", "", "");
    CHECK(linked.body == "linked");
    CHECK_THAT(header(linked, "Cache-Control"), Catch::Contains("immutable"));
    CHECK(files.answer("/../store/4711.css", "", "").status == 404);
  }
}

TEST_CASE("web: no path leads out of the folder, however it is written", "[web]") {
  Site site;
  SmallWorld world;
  LiveOffice office(world["east"], site.web);
  std::string page = office.request("GET", "/").body;
  REQUIRE_THAT(page, Catch::Contains("<title>app</title>"));
  std::string absolute = (site.folder / "secret.txt").string();
  for (const std::string& target :
       {std::string("/../secret.txt"),
        std::string("/assets/../../secret.txt"),
        std::string("/%2e%2e/secret.txt"),
        std::string("/..%2fsecret.txt"),
        std::string("/%2e%2e%2fsecret.txt"),
        std::string("/assets/%2e%2e/%2E%2E/secret.txt"),
        std::string("/..\\secret.txt"),
        std::string("/..%5csecret.txt"),
        std::string("/%252e%252e/secret.txt"),
        std::string("/.../secret.txt"),
        std::string("/./../secret.txt"),
        std::string("//secret.txt"),
        "/" + absolute,
        absolute,
        std::string("http://h/../secret.txt"),
        std::string("/../web-other/index.html"),
        std::string("/secret.txt%00.js"),
        std::string("/%c0%ae%c0%ae/secret.txt"),
        std::string("/../../../../../../../../etc/passwd"),
        std::string("//etc/passwd"),
        std::string("/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd"),
        std::string("/../web/"),
        std::string("/..")}) {
    INFO(target);
    HttpResponse r = office.request("GET", target);
    CHECK_THAT(r.body, !Catch::Contains("not the app's") && !Catch::Contains("root:") &&
                           !Catch::Contains("neighbour"));
    // Either an error or the app's own page, as for any path of its own.
    if (r.status == 200) {
      CHECK(r.body == page);
    } else {
      CHECK((r.status == 404 || r.status == 400));
    }
  }
  // Encoded names of files that are there are those files.
  CHECK(office.request("GET", "/assets/index%2D77aa.css").body == "body{}");
  CHECK(office.request("GET", "/assets/index-77aa.css?v=2").body == "body{}");
  // Nothing is written here, and no token is asked for.
  CHECK(office.request("POST", "/index.html", "x").status == 405);
  CHECK(office.request("GET", "/", {}, {{"Authorization", "Bearer wrong"}}).status == 200);
  CHECK(office.request("GET", "/api/unknown", {}, {{"Authorization", "x"}}).status == 401);
}

}  // namespace branchline
