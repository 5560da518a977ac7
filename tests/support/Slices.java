import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Sends each body, and cuts the text at the offsets of the answer (arguments: URL, text, unit, body, unit, body ...;
 *  all but the first in Base64, as what is printed). */
class Slices {
    public static void main(String[] arguments) throws Exception {
        String text = decode(arguments[1]);
        HttpClient client = HttpClient.newHttpClient();
        for (int index = 2; index < arguments.length; index += 2) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(decode(arguments[index + 1])))
                .build();
            String answer = client.send(request, HttpResponse.BodyHandlers.ofString()).body();
            Matcher span = Pattern.compile("\"start\":(\\d+),\"end\":(\\d+)").matcher(answer);
            while (span.find()) {
                int start = Integer.parseInt(span.group(1)), end = Integer.parseInt(span.group(2));
                byte[] part = slice(text, decode(arguments[index]), start, end).getBytes(StandardCharsets.UTF_8);
                System.out.println(Base64.getEncoder().encodeToString(part));
            }
        }
    }

    static String decode(String argument) {
        return new String(Base64.getDecoder().decode(argument), StandardCharsets.UTF_8);
    }

    static String slice(String text, String unit, int start, int end) {
        switch (unit) {
            case "utf16":
                return text.substring(start, end);
            case "utf8":
                byte[] bytes = Arrays.copyOfRange(text.getBytes(StandardCharsets.UTF_8), start, end);
                return new String(bytes, StandardCharsets.UTF_8);
            default:
                return text.substring(text.offsetByCodePoints(0, start), text.offsetByCodePoints(0, end));
        }
    }
}
