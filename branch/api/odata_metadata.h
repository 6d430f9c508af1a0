// The service document and $metadata (CSDL XML, OData 4.0), from the schema.
#pragma once

#include <string>

#include "common/schema/schema.h"

namespace branchline {

std::string service_document(const Schema& schema, const std::string& context_root);
std::string csdl(const Schema& schema);

}  // namespace branchline
