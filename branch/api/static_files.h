// The web app's files, read once at start.
#pragma once

#include <map>
#include <string>

#include "common/http/http.h"

namespace branchline {

class StaticFiles {
 public:
  // Everything below `directory`; a missing one gives a page that says how to build the app.
  static StaticFiles load(const std::string& directory);
  // The file, or the app's page for any path of the app's own (its routes are the browser's).
  // Compressed where the client takes gzip and the build left a `.gz` beside the file.
  HttpResponse answer(const std::string& path, std::string_view if_none_match,
                      std::string_view accept_encoding) const;

 private:
  struct File {
    std::string content_type;
    std::string body;
    std::string gzip;  // empty: there is none
    std::string etag;
    bool hashed_name = false;  // its name changes with its content: may be kept for ever
  };
  std::map<std::string, File> files_;
};

}  // namespace branchline
