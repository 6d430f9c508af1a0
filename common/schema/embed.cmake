# Makes a C++ string of a text file: cmake -DIN=... -DOUT=... -DNAME=... -P embed.cmake
file(READ "${IN}" text)
file(WRITE "${OUT}" "namespace branchline {\nextern const char* const ${NAME};\nconst char* const ${NAME} = R\"bl_text(${text})bl_text\";\n}\n")
